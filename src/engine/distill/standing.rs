//! The weights that stand while others are tried: what a model that serves them reads where it needs one once more.

use super::host::Parked;
use crate::device::Store;
use crate::error::Result;
use crate::graph::{Source, Weight};
use std::sync::{Arc, Mutex, PoisonError};

/// Where they are.
pub(super) enum Place {
    /// States of the weights' names; of those that were marked, while later ones are tried.
    Device {
        store: Store,
        marked: bool,
    },
    Host(Arc<Parked>),
}

/// The trained weights of a model as they stand.
pub struct Standing {
    weights: Vec<Weight>,
    place: Mutex<Place>,
}

impl Standing {
    pub(super) fn new(weights: Vec<Weight>, store: &Store) -> Self {
        let place = Place::Device {
            store: store.clone(),
            marked: false,
        };
        Self {
            weights,
            place: Mutex::new(place),
        }
    }

    pub(super) fn at(&self, place: Place) {
        *self.place.lock().unwrap_or_else(PoisonError::into_inner) = place;
    }

    /// The values of `source`; `None` where no weight is made of it.
    ///
    /// # Errors
    /// What reading returns.
    pub fn values(&self, source: &Source) -> Result<Option<Vec<f32>>> {
        let of = |w: &&Weight| w.sources.iter().any(|s| s.name == source.name);
        let Some(weight) = self.weights.iter().find(of) else {
            return Ok(None);
        };
        let place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        let tensor = match &*place {
            Place::Device { store, marked } => match marked {
                true => Some(store.read(&marked_name(&weight.name))?),
                false => Some(store.read(&weight.name)?),
            },
            Place::Host(all) => {
                let found = all.iter().find(|(name, _)| *name == weight.name);
                found.map(|(_, tensor)| tensor.clone())
            }
        };
        let Some(tensor) = tensor else {
            return Ok(None);
        };
        let parts = weight.published(&tensor.to_f32())?;
        let mut both = weight.sources.iter().zip(parts);
        Ok(both.find(|b| b.0.name == source.name).map(|b| b.1))
    }
}

/// The state that a marked one is kept in.
pub(super) fn marked_name(name: &str) -> String {
    format!("marked {name}")
}
