//! The number type of a kernel's reference: f64 for the truth, [`Naive`] for what a plain implementation in
//! the kernel's own precision would get, which is what tolerances are measured by.

use crate::tensor::DType;
use std::ops::{Add, AddAssign, Div, Mul, Sub};

/// What a reference needs of a number.
pub trait Real:
    Copy
    + PartialOrd
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + AddAssign
    + std::iter::Sum
{
    fn of(v: f64) -> Self;
    fn f64(self) -> f64;
    fn exp(self) -> Self;
    fn ln(self) -> Self;
    fn sqrt(self) -> Self;
    /// The value after a store in `elem`: what a kernel keeps in storage or workgroup memory of that type.
    fn stored(self, elem: DType) -> Self;
    fn max(self, other: Self) -> Self {
        if other > self { other } else { self }
    }
    fn zero() -> Self {
        Self::of(0.0)
    }
    fn relu(self) -> Self {
        self.max(Self::zero())
    }
    fn sigmoid(self) -> Self {
        Self::of(1.0) / (Self::of(1.0) + (Self::zero() - self).exp())
    }
    fn silu(self) -> Self {
        self * self.sigmoid()
    }
    /// By the tanh approximation: (1 + tanh(u)) / 2 is sigmoid(2u).
    fn gelu(self) -> Self {
        let cube = Self::of(0.044_715) * self * self * self;
        let u = Self::of(2.0 * (2.0 / std::f64::consts::PI).sqrt()) * (self + cube);
        self * u.sigmoid()
    }
}

impl Real for f64 {
    fn of(v: f64) -> Self {
        v
    }
    fn f64(self) -> f64 {
        self
    }
    fn exp(self) -> Self {
        f64::exp(self)
    }
    fn ln(self) -> Self {
        f64::ln(self)
    }
    fn sqrt(self) -> Self {
        f64::sqrt(self)
    }
    fn stored(self, _: DType) -> Self {
        self
    }
}

/// f32 arithmetic, and stores rounded to the element type.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Naive(pub f32);

impl Real for Naive {
    fn of(v: f64) -> Self {
        Naive(v as f32)
    }
    fn f64(self) -> f64 {
        f64::from(self.0)
    }
    fn exp(self) -> Self {
        Naive(self.0.exp())
    }
    fn ln(self) -> Self {
        Naive(self.0.ln())
    }
    fn sqrt(self) -> Self {
        Naive(self.0.sqrt())
    }
    fn stored(self, elem: DType) -> Self {
        match elem {
            DType::F16 => Naive(half::f16::from_f32(self.0).to_f32()),
            _ => self,
        }
    }
}

macro_rules! naive {
    ($($tr:ident $f:ident $op:tt),*) => {$(
        impl $tr for Naive {
            type Output = Naive;
            fn $f(self, r: Naive) -> Naive {
                Naive(self.0 $op r.0)
            }
        }
    )*};
}
naive!(Add add +, Sub sub -, Mul mul *, Div div /);

impl AddAssign for Naive {
    fn add_assign(&mut self, r: Naive) {
        self.0 += r.0;
    }
}

impl std::iter::Sum for Naive {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Naive(0.0), |a, b| a + b)
    }
}
