//! Substrait's expressions as DataFusion's.

use std::collections::HashMap;

use datafusion::common::{Column, Result, ScalarValue, plan_err};
use datafusion::logical_expr::expr::{Case, InList, ScalarFunction};
use datafusion::logical_expr::{Between, BinaryExpr, Expr, Like, Operator, cast, lit, try_cast};

use super::proto::{
    Expression, ExpressionType, FieldReference, IfThen, ScalarFunction as Call, Switch,
};
use super::types::{data_type, literal};
use crate::features::transform::native::functions;

/// Functions that DataFusion has under another name.
const OTHER_NAMES: [(&str, &str); 5] = [
    ("char_length", "character_length"),
    ("is_nan", "isnan"),
    ("sign", "signum"),
    ("substring", "substr"),
    ("trim", "btrim"),
];

/// Functions that DataFusion has under the same name, with the same arguments.
const SAME_NAMES: [&str; 33] = [
    "abs",
    "acos",
    "asin",
    "atan",
    "atan2",
    "ceil",
    "coalesce",
    "concat",
    "contains",
    "cos",
    "ends_with",
    "exp",
    "floor",
    "ln",
    "log10",
    "log2",
    "lower",
    "lpad",
    "ltrim",
    "nullif",
    "power",
    "repeat",
    "replace",
    "reverse",
    "right",
    "round",
    "rpad",
    "rtrim",
    "sin",
    "sqrt",
    "starts_with",
    "tan",
    "upper",
];

/// What an expression may refer to.
pub(super) struct Scope<'a> {
    /// The functions of the plan by their anchors.
    pub(super) functions: &'a HashMap<u32, String>,
    /// The fields of the input by their positions.
    pub(super) fields: Vec<Column>,
}

impl Scope<'_> {
    pub(super) fn expression(&self, expression: &Expression) -> Result<Expr> {
        match &expression.kind {
            Some(ExpressionType::Literal(value)) => Ok(lit(literal(value)?)),
            Some(ExpressionType::Selection(reference)) => self.field(reference),
            Some(ExpressionType::Function(call)) => self.call(call),
            Some(ExpressionType::IfThen(if_then)) => self.if_then(if_then),
            Some(ExpressionType::Switch(switch)) => self.switch(switch),
            Some(ExpressionType::OrList(or_list)) => {
                let options = or_list.options.iter().map(|option| self.expression(option));
                Ok(Expr::InList(InList {
                    expr: Box::new(self.present(or_list.value.as_deref())?),
                    list: options.collect::<Result<_>>()?,
                    negated: false,
                }))
            }
            Some(ExpressionType::Cast(conversion)) => {
                let input = self.present(conversion.input.as_deref())?;
                let Some(to) = &conversion.to else {
                    return plan_err!("it has a cast to nothing");
                };
                let to = data_type(to)?;
                Ok(match conversion.failure_behavior {
                    1 => try_cast(input, to),
                    _ => cast(input, to),
                })
            }
            None => plan_err!("it has an expression that is not known here, or a subquery"),
        }
    }

    fn present(&self, expression: Option<&Expression>) -> Result<Expr> {
        match expression {
            Some(expression) => self.expression(expression),
            None => plan_err!("it lacks a part of an expression"),
        }
    }

    fn field(&self, reference: &FieldReference) -> Result<Expr> {
        let field = reference
            .direct
            .as_ref()
            .and_then(|segment| segment.field.as_ref());
        let column = match field {
            Some(field)
                if field.child.is_none()
                    && reference.expression.is_none()
                    && reference.outer.is_none() =>
            {
                usize::try_from(field.field)
                    .ok()
                    .and_then(|position| self.fields.get(position))
            }
            _ => return plan_err!("it refers to something else than a column"),
        };
        match column {
            Some(column) => Ok(Expr::Column(column.clone())),
            None => plan_err!("it refers to a column that is not there"),
        }
    }

    fn if_then(&self, if_then: &IfThen) -> Result<Expr> {
        let mut branches = Vec::with_capacity(if_then.ifs.len() + 1);
        for clause in &if_then.ifs {
            let condition = self.present(clause.condition.as_ref())?;
            let then = self.present(clause.then.as_ref())?;
            if if_then.ifs.len() == 1 {
                let unknown = Expr::IsNull(Box::new(condition.clone()));
                branches.push((Box::new(unknown), Box::new(lit(ScalarValue::Null))));
            }
            branches.push((Box::new(condition), Box::new(then)));
        }
        Ok(Expr::Case(Case {
            expr: None,
            when_then_expr: branches,
            else_expr: self.otherwise(if_then.otherwise.as_deref())?,
        }))
    }

    fn switch(&self, switch: &Switch) -> Result<Expr> {
        let mut branches = Vec::with_capacity(switch.ifs.len());
        for clause in &switch.ifs {
            let Some(value) = &clause.value else {
                return plan_err!("it lacks a part of an expression");
            };
            let then = self.present(clause.then.as_ref())?;
            branches.push((Box::new(lit(literal(value)?)), Box::new(then)));
        }
        Ok(Expr::Case(Case {
            expr: Some(Box::new(self.present(switch.value.as_deref())?)),
            when_then_expr: branches,
            else_expr: self.otherwise(switch.otherwise.as_deref())?,
        }))
    }

    fn otherwise(&self, expression: Option<&Expression>) -> Result<Option<Box<Expr>>> {
        let expression = expression.map(|expression| self.expression(expression));
        Ok(expression.transpose()?.map(Box::new))
    }

    fn call(&self, call: &Call) -> Result<Expr> {
        let Some(name) = self.functions.get(&call.function) else {
            return plan_err!("it calls a function that it does not declare");
        };
        let name = name.split(':').next().unwrap_or(name);
        let mut arguments = Vec::with_capacity(call.arguments.len());
        for argument in &call.arguments {
            let Some(value) = &argument.value else {
                return plan_err!("function `{name}` has an argument that is no value");
            };
            arguments.push(self.expression(value)?);
        }
        function(name, arguments)
    }
}

fn function(name: &str, arguments: Vec<Expr>) -> Result<Expr> {
    if let Some(operator) = operator(name) {
        let joined = arguments.into_iter().reduce(|left, right| {
            Expr::BinaryExpr(BinaryExpr::new(Box::new(left), operator, Box::new(right)))
        });
        return match joined {
            Some(expression) => Ok(expression),
            None => plan_err!("function `{name}` has no arguments"),
        };
    }
    let mut arguments = arguments;
    match (name, arguments.as_mut_slice()) {
        ("not", [one]) => Ok(Expr::Not(take(one))),
        ("negate", [one]) => Ok(Expr::Negative(take(one))),
        ("is_null", [one]) => Ok(Expr::IsNull(take(one))),
        ("is_not_null", [one]) => Ok(Expr::IsNotNull(take(one))),
        ("between", [value, low, high]) => Ok(Expr::Between(Between::new(
            take(value),
            false,
            take(low),
            take(high),
        ))),
        ("like", [value, pattern]) => Ok(Expr::Like(Like::new(
            false,
            take(value),
            take(pattern),
            None,
            false,
        ))),
        // The base comes last in Substrait and first in SQL.
        ("logb", [value, base]) => by_name("log", vec![*take(base), *take(value)]),
        _ => {
            let other = OTHER_NAMES.iter().find(|(theirs, _)| *theirs == name);
            let own = match other {
                Some((_, own)) => own,
                None if SAME_NAMES.contains(&name) => name,
                None => return plan_err!("function `{name}` is not known here"),
            };
            by_name(own, arguments)
        }
    }
}

fn take(expression: &mut Expr) -> Box<Expr> {
    Box::new(std::mem::replace(expression, lit(ScalarValue::Null)))
}

fn by_name(name: &str, arguments: Vec<Expr>) -> Result<Expr> {
    match functions::scalar(name) {
        Some(function) => Ok(Expr::ScalarFunction(ScalarFunction::new_udf(
            function, arguments,
        ))),
        None => plan_err!("function `{name}` is not known here"),
    }
}

fn operator(name: &str) -> Option<Operator> {
    Some(match name {
        "add" => Operator::Plus,
        "subtract" => Operator::Minus,
        "multiply" => Operator::Multiply,
        "divide" => Operator::Divide,
        "modulus" => Operator::Modulo,
        "equal" => Operator::Eq,
        "not_equal" | "xor" => Operator::NotEq,
        "lt" => Operator::Lt,
        "lte" => Operator::LtEq,
        "gt" => Operator::Gt,
        "gte" => Operator::GtEq,
        "and" => Operator::And,
        "or" => Operator::Or,
        "bitwise_and" => Operator::BitwiseAnd,
        "bitwise_or" => Operator::BitwiseOr,
        "bitwise_xor" => Operator::BitwiseXor,
        _ => return None,
    })
}
