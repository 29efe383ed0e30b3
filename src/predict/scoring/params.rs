//! `params` of a scoring call against those of the signature. ONNX models never see them: they are checked and recorded.

use serde_json::Value;
use serde_json::value::RawValue;

use super::Error;
use crate::types::dtype::DType;
use crate::types::signature::ParamSpec;

/// Names that the signature has not are ignored, null stands for the default.
pub(super) fn check(specs: &[ParamSpec], given: &RawValue) -> Result<(), Error> {
    let given: Value = serde_json::from_str(given.get()).map_err(|error| Error::Params {
        reason: error.to_string(),
    })?;
    let params = match given {
        Value::Null => return Ok(()),
        Value::Object(params) => params,
        other => {
            return Err(Error::Params {
                reason: format!(
                    "Parameters must be a dictionary. Got type '{}'.",
                    class(&other)
                ),
            });
        }
    };
    let mut invalid = Vec::new();
    for spec in specs {
        if let Some(value) = params.get(&spec.name)
            && let Err(reason) = check_one(spec, value)
        {
            invalid.push(format!("('{}', \"{reason}\")", spec.name));
        }
    }
    if invalid.is_empty() {
        return Ok(());
    }
    Err(Error::Params {
        reason: format!("Invalid parameters found: {{{}}}", invalid.join(", ")),
    })
}

fn check_one(spec: &ParamSpec, value: &Value) -> Result<(), String> {
    match value {
        Value::Array(items) if spec.list => {
            items.iter().try_for_each(|item| check_scalar(spec, item))
        }
        value if spec.list => Err(format!(
            "Value must be a 1D array with shape (-1,) for param '{}', received {} with ndim 0",
            spec.name,
            class(value)
        )),
        value => check_scalar(spec, value),
    }
}

fn check_scalar(spec: &ParamSpec, value: &Value) -> Result<(), String> {
    let Some(dtype) = spec.dtype else {
        // An object: what is in it is the model's business.
        return match value {
            Value::Object(_) => Ok(()),
            other => Err(format!(
                "Expected object to be a dictionary, got {}",
                class(other)
            )),
        };
    };
    let fits = match (dtype, value) {
        (_, Value::Null) => true,
        (DType::Bool, Value::Bool(_)) => true,
        (dtype, Value::Number(_)) if dtype.is_float() => true,
        (DType::String | DType::Binary | DType::Datetime, Value::String(_)) => true,
        (_, Value::Number(number)) if dtype.is_integer() => number.is_i64() || number.is_u64(),
        _ => false,
    };
    match fits {
        true => Ok(()),
        false => Err(format!(
            "Failed to validate type and shape for '{}', error: Can not safely convert `<class '{}'>` to `{dtype}` for value `{value}`",
            spec.name,
            class(value)
        )),
    }
}

/// Python's name of the type.
fn class(value: &Value) -> &'static str {
    match value {
        Value::Null => "NoneType",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float",
        Value::Number(_) => "int",
        Value::String(_) => "str",
        Value::Array(_) => "list",
        Value::Object(_) => "dict",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_has_the_declared_type_or_one_that_widens_to_it() {
        let spec = |name: &str, dtype, list| ParamSpec {
            name: name.to_owned(),
            dtype,
            list,
        };
        let specs = [
            spec("temperature", Some(DType::Float64), false),
            spec("top_k", Some(DType::Int64), false),
            spec("tag", Some(DType::String), false),
            spec("stops", Some(DType::String), true),
            spec("options", None, false),
        ];
        let check = |json: &str| {
            check(&specs, &RawValue::from_string(json.to_owned()).unwrap())
                .map_err(|error| error.to_string())
        };
        for good in [
            "null",
            "{}",
            r#"{"temperature": 1, "top_k": 3, "tag": "z", "stops": ["q"], "options": {"a": 1}}"#,
            r#"{"unknown": [1, 2]}"#,
            r#"{"top_k": null}"#,
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for (bad, part) in [
            ("[1]", "must be a dictionary. Got type 'list'"),
            (
                r#"{"temperature": "hot"}"#,
                "Can not safely convert `<class 'str'>`",
            ),
            (r#"{"top_k": 1.5}"#, "`<class 'float'>`"),
            (r#"{"top_k": true}"#, "`<class 'bool'>`"),
            (r#"{"stops": "q"}"#, "must be a 1D array"),
            (r#"{"stops": [1]}"#, "`<class 'int'>`"),
            (r#"{"options": 1}"#, "dictionary"),
        ] {
            let reason = check(bad).unwrap_err();
            assert!(reason.contains(part), "{bad}: {reason}");
        }
    }
}
