//! A language model opened: its files, its graph, and what a plan of it is made with.

use super::runner::PREFILL;
use crate::device::{Device, Executable, Store};
use crate::engine::profile::noise_weights;
use crate::error::{Error, Result};
use crate::graph::{Finished, Graph, Source, Value};
use crate::io::LanguageFiles;
use crate::models::language::{Cached, Config, SLACK};
use crate::models::llama::Llama;
use crate::models::t5::T5;
use crate::plan::{Options, Plan};
use std::sync::Arc;

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
    /// Constants on the device, shared by all sequences and plans.
    store: Store,
}

enum Layers {
    Llama(Llama),
    T5(T5),
}

impl Language {
    /// The model of `files`, to be run as `options` say.
    ///
    /// # Errors
    /// [`Error::File`] where the configuration is of no model that is built; [`Error::Weights`] where the weights do
    /// not fit it.
    pub fn open(device: &Device, files: Arc<LanguageFiles>, options: &Options) -> Result<Self> {
        let own_head = files.weights.contains("lm_head.weight");
        let mut model = Self::new(device, Config::of(&files)?, own_head, options);
        model.fits(&files)?;
        model.files = Some(files);
        Ok(model)
    }

    /// A model of these sizes whose weights are noise, to be timed.
    pub fn of_noise(device: &Device, config: Config, options: &Options) -> Self {
        Self::new(device, config, false, options)
    }

    fn new(device: &Device, config: Config, own_head: bool, options: &Options) -> Self {
        let layers = match &config {
            Config::Decoder(c) => Layers::Llama(Llama::new(c)),
            Config::T5(c) => Layers::T5(T5::new(c, own_head)),
        };
        Self {
            device: device.clone(),
            config,
            layers,
            files: None,
            options: options.clone(),
            store: Store::new(device),
        }
    }

    /// Whether the checkpoint has every tensor that the model reads, in its shape.
    fn fits(&self, files: &LanguageFiles) -> Result<()> {
        let mut wanted = Vec::new();
        let cached = self.cached(1, &Room::of(16));
        let mut graphs = vec![self.graph(&cached, |g, l| g.output("logits", l))?];
        if let Layers::T5(t5) = &self.layers {
            let g = Graph::new();
            t5.encode(&g, &cached);
            graphs.push(g.finish()?);
        }
        for graph in &graphs {
            wanted.extend(graph.sources());
        }
        let names = wanted.iter().map(|s| (s.name.as_str(), s.shape.as_slice()));
        files.weights.fit(names)
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

    /// Parameters, as published.
    ///
    /// # Errors
    /// What writing the graph returns.
    pub fn parameters(&self) -> Result<u64> {
        let cached = self.cached(1, &Room::of(16));
        let graph = self.graph(&cached, |g, l| g.output("logits", l))?;
        let mut sources = graph.sources();
        if let Layers::T5(t5) = &self.layers {
            let g = Graph::new();
            t5.encode(&g, &cached);
            sources.extend(g.finish()?.sources());
        }
        Ok((sources.iter())
            .map(|s| s.shape.iter().product::<usize>() as u64)
            .sum())
    }

    /// A store for one more sequence.
    pub fn sequence(&self) -> Store {
        self.store.with_same_constants()
    }

    /// A run of `rows` tokens of a sequence with such room.
    pub fn cached(&self, rows: usize, room: &Room) -> Cached {
        Cached {
            rows,
            positions: room.positions,
            capacity: room.capacity,
            window: room.window,
            elem: self.options.dtype,
        }
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
        let g = Graph::new();
        let logits = match &self.layers {
            Layers::Llama(llama) => llama.logits(llama.hidden(&g, cached)),
            Layers::T5(t5) => t5.logits(t5.decode(&g, cached)),
        };
        then(&g, logits);
        g.finish()
    }

    /// The graph of a run that only fills the caches.
    ///
    /// # Errors
    /// As [`Language::graph`].
    pub fn prefill_graph(&self, cached: &Cached) -> Result<Finished> {
        let g = Graph::new();
        let hidden = match &self.layers {
            Layers::Llama(llama) => llama.hidden(&g, cached),
            Layers::T5(t5) => t5.decode(&g, cached),
        };
        g.output("hidden", hidden);
        g.finish()
    }

    /// The graph that reads a prompt with the encoder and fills the caches of keys and values that the decoder
    /// attends to.
    ///
    /// # Errors
    /// [`Error::Usage`] where the model has none.
    pub fn encoder_graph(&self, cached: &Cached) -> Result<Finished> {
        let Layers::T5(t5) = &self.layers else {
            return Err(Error::Usage("the model has no encoder".into()));
        };
        let g = Graph::new();
        t5.encode(&g, cached);
        g.finish()
    }

    /// The plan of `graph`, loaded into `store`.
    ///
    /// # Errors
    /// What planning and loading return.
    pub fn load(&self, store: &Store, graph: &Finished) -> Result<Arc<Executable>> {
        let plan = Arc::new(Plan::new(graph, self.device.caps(), &self.options)?);
        let read = |source: &Source| -> Result<Vec<f32>> {
            match &self.files {
                Some(files) => Ok(files.weights.values(&source.name)?.to_f32()),
                None => noise_weights(source),
            }
        };
        Executable::load_in(store, plan, &read).map(Arc::new)
    }
}
