//! Aggregates over the buckets of classic histograms: `histogram_quantile`, `histogram_below`, `histogram_bound`. Increases are summed per bucket bound first and
//! only the summed histogram is read: percentiles are never averaged.
//!
//! # Source
//! The interpolation is that of Prometheus' `histogram_quantile` (`promql/quantile.go`, `bucketQuantile`): linear within a bucket, the first bucket starting at 0,
//! the highest finite bound where the quantile falls into the +Inf bucket, nothing without a +Inf bucket or without observations.

use arrow::array::{Array, ArrayRef, AsArray, Float64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type};
use datafusion::common::utils::SingleRowListArrayBuilder;
use datafusion::common::{ScalarValue, exec_datafusion_err, exec_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};
use std::sync::Arc;

/// Distinct bounds one histogram may have; more than that is refused.
pub const BOUNDS_MAX: usize = 10_000;

/// `histogram_quantile(q, le, increase)`: the q-quantile of the summed histogram, in the unit of `le`; null without observations.
pub fn histogram_quantile() -> AggregateUDF {
    Histogram::function("histogram_quantile", DataType::Float64, |histogram, q| ScalarValue::Float64(histogram.quantile(q)))
}

/// `histogram_below(threshold, le, increase)`: observations of the largest bound <= threshold; null without buckets.
pub fn histogram_below() -> AggregateUDF {
    Histogram::function("histogram_below", DataType::Int64, |histogram, threshold| {
        ScalarValue::Int64(histogram.below(threshold).map(|count| count.round() as i64))
    })
}

/// `histogram_bound(threshold, le, increase)`: that bound itself; null where there is none.
pub fn histogram_bound() -> AggregateUDF {
    Histogram::function("histogram_bound", DataType::Float64, |histogram, threshold| ScalarValue::Float64(histogram.bound(threshold)))
}

type Finish = fn(&Buckets, f64) -> ScalarValue;

#[derive(Debug)]
struct Histogram {
    name: &'static str,
    output: DataType,
    finish: Finish,
    signature: Signature,
}

impl Histogram {
    fn function(name: &'static str, output: DataType, finish: Finish) -> AggregateUDF {
        AggregateUDF::new_from_impl(Self { name, output, finish, signature: Signature::user_defined(Volatility::Immutable) })
    }
}

impl PartialEq for Histogram {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Histogram {}

impl std::hash::Hash for Histogram {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl AggregateUDFImpl for Histogram {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match types {
            [_, _, _] if types.iter().all(|t| t.is_numeric() || *t == DataType::Null) => Ok(vec![DataType::Float64; 3]),
            _ => plan_err!("{0} takes three numbers: {0}(0.95, label_number(labels, 'le'), increase)", self.name),
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.output.clone())
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let list = |part: &str| -> FieldRef {
            Arc::new(Field::new_list(format_state_name(args.name, part), Field::new_list_field(DataType::Float64, true), true))
        };
        Ok(vec![Arc::new(Field::new(format_state_name(args.name, "parameter"), DataType::Float64, true)), list("bounds"), list("counts")])
    }

    fn accumulator(&self, _: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Summed { parameter: None, buckets: Buckets::default(), finish: self.finish }))
    }
}

#[derive(Debug)]
struct Summed {
    /// The quantile or threshold; the greatest one said where rows differ, so that order does not matter.
    parameter: Option<f64>,
    buckets: Buckets,
    finish: Finish,
}

impl Summed {
    fn say(&mut self, parameter: Option<f64>) {
        if let Some(said) = parameter.filter(|p| !p.is_nan()) {
            self.parameter = Some(self.parameter.map_or(said, |known| known.max(said)));
        }
    }

    fn add(&mut self, bound: Option<f64>, count: Option<f64>) -> Result<()> {
        if let (Some(bound), Some(count)) = (bound, count)
            && !bound.is_nan()
            && count.is_finite()
        {
            self.buckets.add(bound, count);
        }
        if self.buckets.cells.len() > BOUNDS_MAX {
            return exec_err!("limit of {BOUNDS_MAX} bucket bounds of one histogram reached: group by more labels");
        }
        Ok(())
    }
}

fn numbers(column: &ArrayRef) -> Result<Float64Array> {
    let plain = cast(column, &DataType::Float64)?;
    plain.as_primitive_opt::<Float64Type>().cloned().ok_or_else(|| exec_datafusion_err!("expected numbers, found {}", column.data_type()))
}

impl Accumulator for Summed {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let [parameter, bounds, counts] = values else {
            return exec_err!("histogram functions take three arguments");
        };
        let (parameter, bounds, counts) = (numbers(parameter)?, numbers(bounds)?, numbers(counts)?);
        for ((parameter, bound), count) in parameter.iter().zip(bounds.iter()).zip(counts.iter()) {
            self.say(parameter);
            self.add(bound, count)?;
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let [parameter, bounds, counts] = states else {
            return exec_err!("a histogram's state has three columns");
        };
        for said in &numbers(parameter)? {
            self.say(said);
        }
        let (Some(bounds), Some(counts)) = (bounds.as_list_opt::<i32>(), counts.as_list_opt::<i32>()) else {
            return exec_err!("a histogram's state is made of lists");
        };
        for (bounds, counts) in bounds.iter().zip(counts.iter()) {
            let (Some(bounds), Some(counts)) = (bounds, counts) else { continue };
            for (bound, count) in numbers(&bounds)?.iter().zip(numbers(&counts)?.iter()) {
                self.add(bound, count)?;
            }
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let list = |pick: fn(&(f64, f64)) -> f64| {
            let items: Float64Array = self.buckets.cells.iter().map(|cell| Some(pick(cell))).collect();
            SingleRowListArrayBuilder::new(Arc::new(items)).build_list_scalar()
        };
        Ok(vec![ScalarValue::Float64(self.parameter), list(|cell| cell.0), list(|cell| cell.1)])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok((self.finish)(&self.buckets, self.parameter.unwrap_or(f64::NAN)))
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.buckets.cells.capacity() * size_of::<(f64, f64)>()
    }
}

/// A summed histogram: bounds in ascending order, each with its cumulative count.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Buckets {
    cells: Vec<(f64, f64)>,
}

impl Buckets {
    /// Adds a bucket's increase.
    pub fn add(&mut self, bound: f64, count: f64) {
        // The two zeros are one bound.
        let bound = bound + 0.0;
        match self.cells.binary_search_by(|cell| cell.0.total_cmp(&bound)) {
            Ok(at) => {
                if let Some(cell) = self.cells.get_mut(at) {
                    cell.1 += count;
                }
            }
            Err(at) => self.cells.insert(at, (bound, count)),
        }
    }

    /// Bounds and counts that never fall: scrapes are not atomic, so a lower bucket may be ahead of a higher one.
    fn rising(&self) -> impl Iterator<Item = (f64, f64)> {
        self.cells.iter().scan(0.0_f64, |most, (bound, count)| {
            *most = most.max(*count);
            Some((*bound, *most))
        })
    }

    /// The q-quantile.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        if !(0.0..=1.0).contains(&q) || self.cells.len() < 2 {
            return None;
        }
        let (last_bound, total) = self.rising().last()?;
        if last_bound != f64::INFINITY || total <= 0.0 {
            return None;
        }
        let rank = q * total;
        let mut below = (None, 0.0);
        for (bound, count) in self.rising() {
            if count >= rank && count > below.1 {
                return match (below.0, bound) {
                    (highest, f64::INFINITY) => highest,
                    (None, bound) if bound <= 0.0 => Some(bound),
                    (lower, bound) => {
                        let lower = lower.unwrap_or(0.0);
                        Some(lower + (bound - lower) * ((rank - below.1).max(0.0) / (count - below.1)))
                    }
                };
            }
            below = (Some(bound), count);
        }
        None
    }

    /// Observations of the largest bound that is at most `threshold`: 0 where every bound is above it.
    pub fn below(&self, threshold: f64) -> Option<f64> {
        if self.cells.is_empty() || threshold.is_nan() {
            return None;
        }
        Some(self.rising().take_while(|(bound, _)| *bound <= threshold).last().map_or(0.0, |(_, count)| count))
    }

    /// The largest bound that is at most `threshold`.
    pub fn bound(&self, threshold: f64) -> Option<f64> {
        self.cells.iter().map(|cell| cell.0).rfind(|bound| *bound <= threshold)
    }
}
