//! `now()`, `current_date()` and `current_time()` that read the clock at each run: DataFusion's own take the time at which a
//! query is planned, and ours are planned once.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// Microseconds of a day.
const DAY: i64 = 86_400_000_000;

#[derive(Debug, PartialEq, Eq, Hash)]
struct Clock {
    what: What,
    signature: Signature,
    aliases: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum What {
    Now,
    Date,
    Time,
}

/// The functions, to be registered over DataFusion's.
pub(super) fn functions() -> Vec<Arc<ScalarUDF>> {
    let clock = |what, aliases: &[&str]| {
        Arc::new(ScalarUDF::new_from_impl(Clock {
            what,
            signature: Signature::nullary(Volatility::Volatile),
            aliases: aliases.iter().map(|&alias| alias.to_owned()).collect(),
        }))
    };
    vec![
        clock(What::Now, &["current_timestamp"]),
        clock(What::Date, &["today"]),
        clock(What::Time, &[]),
    ]
}

impl ScalarUDFImpl for Clock {
    fn name(&self) -> &str {
        match self.what {
            What::Now => "now",
            What::Date => "current_date",
            What::Time => "current_time",
        }
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(match self.what {
            What::Now => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            What::Date => DataType::Date32,
            What::Time => DataType::Time64(TimeUnit::Microsecond),
        })
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let now = jiff::Timestamp::now().as_microsecond();
        Ok(ColumnarValue::Scalar(match self.what {
            What::Now => ScalarValue::TimestampMicrosecond(Some(now), Some("UTC".into())),
            What::Date => ScalarValue::Date32(i32::try_from(now.div_euclid(DAY)).ok()),
            What::Time => ScalarValue::Time64Microsecond(Some(now.rem_euclid(DAY))),
        }))
    }
}
