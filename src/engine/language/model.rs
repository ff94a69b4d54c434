//! A language model opened: its files, its graph, and what a plan of it is made with.

use super::layers::{Layers, fits};
use super::plans::{KMAX, judge};
use super::runner::PREFILL;
use crate::device::{Device, Executable, Store};
use crate::engine::profile::noise_weights;
use crate::error::{Error, Result};
use crate::graph::{Finished, Graph, Source, Value};
use crate::io::LanguageFiles;
use crate::models::language::{Cached, Config, SLACK};
use crate::plan::{Options, Plan};
use crate::shader::Caps;
use crate::tensor::Tensor;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

/// The memory of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Positions that it may have.
    pub positions: usize,
    /// Positions that its caches hold.
    pub capacity: usize,
    /// Positions that a token sees, its own included; all where `None`.
    pub window: Option<usize>,
}

impl Room {
    /// Room for `positions`, each of which sees all before it.
    pub fn of(positions: usize) -> Self {
        Self {
            positions,
            capacity: positions + SLACK,
            window: None,
        }
    }

    /// Room for `positions`, each of which sees itself and the `window` - 1 before it: caches are rings.
    pub fn sliding(positions: usize, window: usize) -> Self {
        Self {
            positions,
            capacity: (window + PREFILL[0] + SLACK).min(positions + SLACK),
            window: Some(window),
        }
    }
}

/// A language model: its configuration, and weights that are read when a plan is loaded.
pub struct Language {
    device: Device,
    config: Config,
    layers: Layers,
    /// `None` where weights are noise.
    files: Option<Arc<LanguageFiles>>,
    options: Options,
    /// Where weights are read that change while they are served.
    learned: RwLock<Option<Arc<Learned>>>,
    /// Tensors that came in the place of the checkpoint's.
    replaced: RwLock<HashMap<String, Arc<Vec<f32>>>>,
    /// Constants on the device, shared by all sequences and plans.
    store: Store,
}

/// The values of a tensor that is learned; `None` of any other.
pub type Learned = dyn Fn(&Source) -> Result<Option<Vec<f32>>> + Send + Sync;

/// Tokens of the longest round.
const KMAX_ROWS: usize = KMAX + 1;

/// A run of `rows` tokens of a sequence with `room`.
fn cached(rows: usize, room: &Room, options: &Options) -> Cached {
    Cached {
        rows,
        positions: room.positions,
        capacity: room.capacity,
        window: room.window,
        elem: options.dtype,
    }
}

impl Language {
    /// The model of `files`, to be run as `options` say.
    ///
    /// # Errors
    /// [`Error::File`] where the configuration is of no model that is built; [`Error::Weights`] where the weights do
    /// not fit it.
    pub fn open(device: &Device, files: Arc<LanguageFiles>, options: &Options) -> Result<Self> {
        let config = Config::of(&files)?;
        let layers = Layers::of(&config, &files);
        fits(&layers, &files)?;
        Ok(Self::new(device, config, layers, Some(files), options))
    }

    /// A model of these sizes whose weights are noise, to be timed.
    pub fn of_noise(device: &Device, config: Config, options: &Options) -> Self {
        let layers = Layers::new(&config, false);
        Self::new(device, config, layers, None, options)
    }

    fn new(
        device: &Device,
        config: Config,
        layers: Layers,
        files: Option<Arc<LanguageFiles>>,
        options: &Options,
    ) -> Self {
        Self {
            device: device.clone(),
            config,
            layers,
            files,
            options: options.clone(),
            learned: RwLock::default(),
            replaced: RwLock::default(),
            store: Store::new(device),
        }
    }

    /// How `files` are run on an adapter with `caps`, without a device and without reading weights: for a run of up to
    /// [`KMAX`] + 1 tokens, a round that verifies all but the first and draws one more; for more, the run that fills
    /// the caches. A model with an encoder reads `rows` tokens with it, and then decodes one. Each plan has a title.
    ///
    /// # Errors
    /// As [`Language::open`], and [`Error::Plan`] where the adapter cannot.
    pub fn plans(
        files: &LanguageFiles,
        rows: usize,
        room: &Room,
        caps: &Caps,
        options: &Options,
    ) -> Result<Vec<(String, Plan)>> {
        let config = Config::of(files)?;
        let layers = Layers::of(&config, files);
        fits(&layers, files)?;
        let cached = |rows| cached(rows, room, options);
        let one = |title: String, graph: Finished| Ok((title, Plan::new(&graph, caps, options)?));
        let round = |rows| {
            let run = cached(rows);
            let graph =
                layers.graph(&run, |g, l| judge(g, l, &run, config.vocab(), false, None))?;
            one(format!("{rows} at once, and one more is drawn"), graph)
        };
        if let Some(graph) = layers.encoder_graph(&cached(rows)) {
            let read = one(format!("{rows} read by the encoder"), graph?)?;
            return Ok(vec![read, round(1)?]);
        }
        Ok(vec![match rows {
            0..=KMAX_ROWS => round(rows)?,
            _ => one(
                format!("{rows} at once, to fill the caches"),
                layers.prefill_graph(&cached(rows))?,
            )?,
        }])
    }

    pub fn device(&self) -> &Device {
        &self.device
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Its files; `None` where its weights are noise.
    pub fn files(&self) -> Option<&LanguageFiles> {
        self.files.as_deref()
    }

    /// What messages call it.
    pub fn name(&self) -> String {
        match &self.files {
            Some(files) => files.path.display().to_string(),
            None => "noise".into(),
        }
    }

    pub fn options(&self) -> &Options {
        &self.options
    }

    pub(in crate::engine) fn layers(&self) -> &Layers {
        &self.layers
    }

    /// Whether it reads its prompt with an encoder.
    pub fn has_encoder(&self) -> bool {
        matches!(self.layers, Layers::T5(_))
    }

    /// The positions that it was made for: none where positions are relative.
    pub fn max_positions(&self) -> Option<usize> {
        match &self.config {
            Config::Decoder(c) => Some(c.max_positions),
            Config::T5(_) => None,
        }
    }

    /// The tensors that it is made of.
    ///
    /// # Errors
    /// What writing the graph returns.
    pub fn sources(&self) -> Result<BTreeSet<Source>> {
        self.layers.sources()
    }

    /// Parameters, as published.
    ///
    /// # Errors
    /// What writing the graph returns.
    pub fn parameters(&self) -> Result<u64> {
        Ok((self.sources()?.iter())
            .map(|s| s.shape.iter().product::<usize>() as u64)
            .sum())
    }

    /// A store for one more sequence.
    pub fn sequence(&self) -> Store {
        self.store.with_same_constants()
    }

    /// Bytes of its weights on the device, as far as plans needed them by now.
    pub fn bytes(&self) -> u64 {
        self.store.bytes().0
    }

    /// Has its weights leave the device, which gives their memory back with the last plan that reads them. Plans that are
    /// loaded later bring them again, as they are by then.
    pub fn evict(&self) {
        self.store.forget_constants();
    }

    /// A run of `rows` tokens of a sequence with such room.
    pub fn cached(&self, rows: usize, room: &Room) -> Cached {
        cached(rows, room, &self.options)
    }

    /// The graph of a run, and of what `then` makes of its logits [rows, vocabulary].
    ///
    /// # Errors
    /// The first shape error of the model.
    pub fn graph(
        &self,
        cached: &Cached,
        then: impl for<'g> FnOnce(&'g Graph, Value<'g>),
    ) -> Result<Finished> {
        self.layers.graph(cached, then)
    }

    /// The graph of a run that only fills the caches.
    ///
    /// # Errors
    /// As [`Language::graph`].
    pub fn prefill_graph(&self, cached: &Cached) -> Result<Finished> {
        self.layers.prefill_graph(cached)
    }

    /// The graph that reads a prompt with the encoder and fills the caches of keys and values that the decoder
    /// attends to.
    ///
    /// # Errors
    /// [`Error::Usage`] where the model has none.
    pub fn encoder_graph(&self, cached: &Cached) -> Result<Finished> {
        let none = || Err(Error::Usage("the model has no encoder".into()));
        self.layers.encoder_graph(cached).unwrap_or_else(none)
    }

    /// The plan of `graph`, loaded into `store`.
    ///
    /// # Errors
    /// What planning and loading return.
    pub fn load(&self, store: &Store, graph: &Finished) -> Result<Arc<Executable>> {
        let plan = Arc::new(Plan::new(graph, self.device.caps(), &self.options)?);
        let read = |source: &Source| self.values(source);
        Executable::load_in(store, plan, &read).map(Arc::new)
    }

    /// The same model with weights of its own: what comes in the place of one's is not the other's.
    ///
    /// # Errors
    /// As [`Language::open`].
    pub fn fork(&self) -> Result<Self> {
        match &self.files {
            Some(files) => Self::open(&self.device, files.clone(), &self.options),
            None => Ok(Self::of_noise(
                &self.device,
                self.config.clone(),
                &self.options,
            )),
        }
    }

    /// Has tensors that `learned` knows read from there from now on, for plans that are loaded later. What
    /// [`Language::replace`] put in their place before counts no longer.
    pub fn follow(&self, learned: Arc<Learned>) {
        let mut replaced = self
            .replaced
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        replaced.clear();
        *self.learned.write().unwrap_or_else(PoisonError::into_inner) = Some(learned);
    }

    /// Puts `tensors`, by their published names, in the place of the checkpoint's for all that runs later, in every
    /// session of this model. Rounds that were submitted run on what was there before.
    ///
    /// # Errors
    /// [`Error::Weights`] where a number is not finite; nothing is changed then.
    pub fn replace(&self, tensors: &[(String, Tensor)]) -> Result<()> {
        let new = (tensors.iter()).map(|(n, t)| (n.clone(), Arc::new(t.to_f32())));
        let old = {
            let mut replaced = self
                .replaced
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            let old = replaced.clone();
            replaced.extend(new);
            old
        };
        let done = (self.store).rewrite_constants(&|source| self.values(source));
        if done.is_err() {
            *self
                .replaced
                .write()
                .unwrap_or_else(PoisonError::into_inner) = old;
        }
        done
    }

    /// A tensor of its checkpoint, or what came in its place.
    ///
    /// # Errors
    /// What reading the file returns.
    pub fn values(&self, source: &Source) -> Result<Vec<f32>> {
        let replaced = self.replaced.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(values) = replaced.get(&source.name) {
            return Ok(values.to_vec());
        }
        drop(replaced);
        let learned = self.learned.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(learned) = learned.as_ref()
            && let Some(values) = learned(source)?
        {
            return Ok(values);
        }
        drop(learned);
        match &self.files {
            None => noise_weights(source),
            Some(files) => {
                let values = files.weights.values(&source.name)?.to_f32();
                match values.iter().position(|v| !v.is_finite()) {
                    Some(at) => Err(Error::Weights(format!(
                        "{}: tensor `{}` has {} at element {at}: expected finite numbers",
                        files.path.display(),
                        source.name,
                        values[at]
                    ))),
                    None => Ok(values),
                }
            }
        }
    }
}
