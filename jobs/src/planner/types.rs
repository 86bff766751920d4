//! The types of columns that travel.

use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, TimeUnit};

/// The type that a column of this type has between operators; `None` if it can have none.
pub(crate) fn supported_type(data_type: &DataType) -> Option<DataType> {
    Some(match data_type {
        DataType::Boolean
        | DataType::Int32
        | DataType::Int64
        | DataType::Float64
        | DataType::Utf8View
        | DataType::Date32
        | DataType::Decimal128(..) => data_type.clone(),
        DataType::Int8 | DataType::Int16 | DataType::UInt8 | DataType::UInt16 => DataType::Int32,
        DataType::UInt32 | DataType::UInt64 => DataType::Int64,
        DataType::Float16 | DataType::Float32 => DataType::Float64,
        DataType::Utf8 | DataType::LargeUtf8 => DataType::Utf8View,
        DataType::Date64 => DataType::Date32,
        DataType::Timestamp(_, None) => DataType::Timestamp(TimeUnit::Millisecond, None),
        DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale) => {
            DataType::Decimal128(*precision, *scale)
        }
        DataType::Dictionary(_, values) => supported_type(values)?,
        _ => return None,
    })
}

/// The type that a job file's schema names.
pub(crate) fn declared_type(name: &str) -> Option<DataType> {
    Some(match name {
        "boolean" => DataType::Boolean,
        "int" => DataType::Int32,
        "bigint" => DataType::Int64,
        "double" => DataType::Float64,
        "string" => DataType::Utf8View,
        "timestamp_ms" => DataType::Timestamp(TimeUnit::Millisecond, None),
        "date" => DataType::Date32,
        _ => return decimal(name),
    })
}

/// The name of a type that columns can have, as a job file's schema writes it.
pub(crate) fn type_name(data_type: &DataType) -> String {
    let name = match data_type {
        DataType::Boolean => "boolean",
        DataType::Int32 => "int",
        DataType::Int64 => "bigint",
        DataType::Float64 => "double",
        DataType::Utf8View => "string",
        DataType::Timestamp(_, None) => "timestamp_ms",
        DataType::Date32 => "date",
        DataType::Decimal128(precision, scale) => return format!("decimal({precision},{scale})"),
        other => return other.to_string(),
    };
    name.to_owned()
}

/// `decimal(12,2)`.
fn decimal(name: &str) -> Option<DataType> {
    let arguments = name.strip_prefix("decimal(")?.strip_suffix(')')?;
    let (precision, scale) = arguments.split_once(',')?;
    let precision: u8 = precision.trim().parse().ok()?;
    let scale: i8 = scale.trim().parse().ok()?;
    let fits = (1..=DECIMAL128_MAX_PRECISION).contains(&precision)
        && scale >= 0
        && scale.unsigned_abs() <= precision;
    fits.then_some(DataType::Decimal128(precision, scale))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_declared_type_has_its_name() {
        let names = [
            "boolean",
            "int",
            "bigint",
            "double",
            "string",
            "timestamp_ms",
            "date",
            "decimal(12,2)",
        ];
        for name in names {
            let declared = declared_type(name).map(|declared| type_name(&declared));
            assert_eq!(declared.as_deref(), Some(name));
        }
    }

    #[test]
    fn decimals_need_a_precision_and_a_scale_within_it() {
        assert_eq!(
            declared_type("decimal(12,2)"),
            Some(DataType::Decimal128(12, 2))
        );
        assert_eq!(
            declared_type("decimal(38, 38)"),
            Some(DataType::Decimal128(38, 38))
        );
        for name in [
            "decimal",
            "decimal()",
            "decimal(39,2)",
            "decimal(0,0)",
            "decimal(4,5)",
            "text",
        ] {
            assert_eq!(declared_type(name), None, "{name}");
        }
    }
}
