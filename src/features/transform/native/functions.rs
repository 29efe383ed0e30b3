//! What a query or a plan may refer to: the table `input` and DataFusion's functions. Nothing else is found.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use datafusion::arrow::datatypes::{DataType, Field as ArrowField, Schema, SchemaRef};
use datafusion::common::{Result, TableReference, plan_err};
use datafusion::config::ConfigOptions;
use datafusion::execution::SessionStateDefaults;
use datafusion::logical_expr::planner::{ContextProvider, ExprPlanner};
use datafusion::logical_expr::{AggregateUDF, HigherOrderUDF, ScalarUDF, TableSource, WindowUDF};

use super::clock;
use crate::features::arrays::data_type;
use crate::features::definitions::Field;

/// The name of the one table.
pub(super) const INPUT: &str = "input";

/// The functions by their names and aliases, the same for all queries.
struct Functions {
    scalar: HashMap<String, Arc<ScalarUDF>>,
    higher_order: HashMap<String, Arc<HigherOrderUDF>>,
    aggregate: HashMap<String, Arc<AggregateUDF>>,
    window: HashMap<String, Arc<WindowUDF>>,
    planners: Vec<Arc<dyn ExprPlanner>>,
    options: ConfigOptions,
}

static FUNCTIONS: LazyLock<Functions> = LazyLock::new(|| {
    let mut options = ConfigOptions::default();
    // Feast's names differ by case.
    options.sql_parser.enable_ident_normalization = false;
    // Times that a query makes are the same moments everywhere.
    options.execution.time_zone = Some("UTC".to_owned());
    let mut scalar = HashMap::new();
    // The last of a name counts, so ours come last.
    let functions = SessionStateDefaults::default_scalar_functions();
    for function in functions.into_iter().chain(clock::functions()) {
        for name in function.aliases() {
            scalar.insert(name.clone(), function.clone());
        }
        scalar.insert(function.name().to_owned(), function);
    }
    let mut higher_order = HashMap::new();
    for function in SessionStateDefaults::default_higher_order_functions() {
        for name in function.aliases() {
            higher_order.insert(name.clone(), function.clone());
        }
        higher_order.insert(function.name().to_owned(), function);
    }
    let aggregate = SessionStateDefaults::default_aggregate_functions();
    let window = SessionStateDefaults::default_window_functions();
    Functions {
        scalar,
        higher_order,
        aggregate: aggregate
            .into_iter()
            .map(|function| (function.name().to_owned(), function))
            .collect(),
        window: window
            .into_iter()
            .map(|function| (function.name().to_owned(), function))
            .collect(),
        planners: SessionStateDefaults::default_expr_planners(),
        options,
    }
});

pub(super) fn options() -> &'static ConfigOptions {
    &FUNCTIONS.options
}

/// The table: its columns are those of the input that Arrow has a form of.
#[derive(Debug)]
pub(super) struct Input {
    schema: SchemaRef,
}

impl Input {
    pub(super) fn new(fields: &[Field]) -> Arc<Self> {
        let columns = fields.iter().filter_map(|field| {
            let data_type = data_type(field.value_type)?;
            Some(ArrowField::new(&field.name, data_type, true))
        });
        let schema = Arc::new(Schema::new(columns.collect::<Vec<_>>()));
        Arc::new(Self { schema })
    }

    pub(super) fn arrow(&self) -> SchemaRef {
        self.schema.clone()
    }
}

impl TableSource for Input {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }
}

/// For the planner of SQL.
pub(super) struct Context {
    pub(super) input: Arc<Input>,
}

impl ContextProvider for Context {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        if name != TableReference::bare(INPUT) {
            return plan_err!("there is no table `{name}`; the only one is `{INPUT}`");
        }
        Ok(self.input.clone())
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &FUNCTIONS.planners
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        FUNCTIONS.scalar.get(name).cloned()
    }

    fn get_higher_order_meta(&self, name: &str) -> Option<Arc<HigherOrderUDF>> {
        FUNCTIONS.higher_order.get(name).cloned()
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        FUNCTIONS.aggregate.get(name).cloned()
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        FUNCTIONS.window.get(name).cloned()
    }

    fn get_variable_type(&self, _: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        options()
    }

    fn udf_names(&self) -> Vec<String> {
        FUNCTIONS.scalar.keys().cloned().collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        FUNCTIONS.higher_order.keys().cloned().collect()
    }

    fn udaf_names(&self) -> Vec<String> {
        FUNCTIONS.aggregate.keys().cloned().collect()
    }

    fn udwf_names(&self) -> Vec<String> {
        FUNCTIONS.window.keys().cloned().collect()
    }
}

/// A scalar function by DataFusion's name.
pub(super) fn scalar(name: &str) -> Option<Arc<ScalarUDF>> {
    FUNCTIONS.scalar.get(name).cloned()
}
