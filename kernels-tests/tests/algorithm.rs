//! Algorithm 1 of "Online Speculative Decoding" (arXiv 2310.07177) on the device: which of the target's distributions a
//! session keeps (T7 and T8 of its section 5.3's tests), and ten steps of AdamW beside the same in f64.

use cascadia::engine::distill::{Loss, Optimizer, Settings, Trainer};
use cascadia::engine::language::{
    Draft, DraftLen, Kept, Request, Room, Sampling, Scorer, Session, Watch,
};
use kernels_tests::distill::{Pair, devices, one, pair, settings, taught};
use kernels_tests::references::relative_l2;

const VOCAB: usize = 512;
/// The target's distribution at temperature 1, however tokens are drawn: f64 [vocabulary].
fn law(logits: &[f32]) -> Vec<f64> {
    let most = logits.iter().fold(f32::MIN, |a, &b| a.max(b));
    let weight = |l: &f32| f64::from(l - most).exp();
    let sum: f64 = logits.iter().map(weight).sum();
    logits.iter().map(|l| weight(l) / sum).collect()
}

/// A request with rounds of three proposals: the tokens of each round, what was kept, and the rows of all kept.
fn watched(
    pair: &Pair,
    draft: &Draft,
    prompt: &[u32],
    all: bool,
) -> (Vec<Vec<u32>>, Vec<Kept>, Vec<f32>) {
    let fail = |e| -> ! { panic!("{e}") };
    let mut session =
        Session::new(&pair.target, draft.clone(), Room::of(64)).unwrap_or_else(|e| fail(e));
    (session.watch(Watch { rows: 96, all })).unwrap_or_else(|e| fail(e));
    let request = Request {
        max_new: 30,
        sampling: Sampling {
            temperature: 0.7,
            top_k: 40,
            seed: 5,
            ..Sampling::greedy()
        },
        draft_len: DraftLen::Fixed(3),
        stop: Vec::new(),
        check: false,
    };
    let mut rounds = Vec::new();
    let mut generation = (session.generate(prompt, &request)).unwrap_or_else(|e| fail(e));
    while let Some(new) = generation.next().unwrap_or_else(|e| fail(e)) {
        rounds.push(new);
    }
    drop(generation);
    let kept = session.take_kept();
    let rows = session.kept_in().read(Session::KEPT);
    (rounds, kept, rows.unwrap_or_else(|e| fail(e)).to_f32())
}

#[test]
fn rows_kept_are_those_that_predict_what_the_target_said_itself() {
    for device in devices() {
        let pair = pair(&device);
        let prompt = &pair.tokens[..7];
        let mut scorer = Scorer::new(&pair.target, 64).unwrap_or_else(|e| panic!("{e}"));
        // The target as its own draft is always right: all of its rounds end with a bonus.
        for (draft, bonus) in [(&pair.draft, false), (&pair.target, true)] {
            for all in [false, true] {
                let draft = Draft::Model(draft.clone());
                let (rounds, kept, rows) = watched(&pair, &draft, prompt, all);
                // Said by plain loops: after each round one row, that before the round's last token; or one for each
                // token. Those that predict tokens of the prompt never.
                let (mut at, mut expected) = (prompt.len(), Vec::new());
                for round in &rounds {
                    let first = if all { 0 } else { round.len() - 1 };
                    expected.extend((first..round.len()).map(|i| at + i - 1));
                    at += round.len();
                }
                let positions: Vec<usize> = kept.iter().map(|k| k.position).collect();
                // The last round's is not where its last token was one too many.
                let cut = !all && positions.len() + 1 == expected.len();
                expected.truncate(expected.len() - usize::from(cut));
                assert_eq!(positions, expected, "{}", device.name());
                // The last two may have had fewer proposals.
                let sizes: Vec<usize> = rounds.iter().map(Vec::len).collect();
                assert_eq!(bonus, sizes[..sizes.len() - 2].iter().all(|&n| n == 4));
                assert!(bonus || sizes.contains(&1), "{sizes:?}");
                let text: Vec<u32> = [prompt, &rounds.concat()].concat();
                assert_eq!(text.len(), at);
                let logits = scorer.logits(&text).unwrap_or_else(|e| panic!("{e}"));
                let logits = logits.to_f32();
                for k in &kept {
                    let expected = law(&logits[k.position * VOCAB..][..VOCAB]);
                    let found = &rows[k.slot as usize * VOCAB..][..VOCAB];
                    let found: Vec<f64> = found.iter().map(|&p| f64::from(p)).collect();
                    let off = relative_l2(&found, &expected);
                    assert!(off < 1e-4, "{}: {off:.1e} at {}", device.name(), k.position);
                }
            }
        }
    }
}

#[test]
fn ten_steps_of_adamw_are_those_of_its_formula() {
    let device = one();
    let pair = pair(&device);
    let batch = taught(&pair, &[4, 9, 10, 17, 25, 32]);
    let (lr, [b1, b2], eps, decay, clip) = (3e-3, [0.9, 0.99], 1e-8, 0.1, 0.5);
    let how = Settings {
        optimizer: Optimizer::AdamW {
            betas: [b1, b2],
            eps: eps as f32,
        },
        lr: lr as f32,
        weight_decay: decay as f32,
        clip: Some(clip as f32),
        ..settings(Loss::ForwardKl)
    };
    let mut trainer = Trainer::new(&pair.draft, how).unwrap_or_else(|e| panic!("{e}"));
    let values = |t: &Trainer| -> Vec<f64> {
        let all = t.weights().unwrap_or_else(|e| panic!("{e}"));
        all.iter()
            .flat_map(|(_, v)| v.iter().map(|&v| f64::from(v)))
            .collect()
    };
    let first = values(&trainer);
    let mut w = first.clone();
    let (mut m, mut v) = (vec![0.0; w.len()], vec![0.0; w.len()]);
    let mut clipped = 0;
    for t in 1..=10 {
        let (_, grads) = (trainer.gradients(&batch)).unwrap_or_else(|e| panic!("{e}"));
        let grads: Vec<f64> = grads.iter().flatten().map(|&g| f64::from(g)).collect();
        let norm = grads.iter().map(|g| g * g).sum::<f64>().sqrt();
        clipped += usize::from(norm > clip);
        let scale = (clip / norm).min(1.0);
        for (i, g) in grads.into_iter().enumerate() {
            let g = g * scale;
            m[i] = b1 * m[i] + (1.0 - b1) * g;
            v[i] = b2 * v[i] + (1.0 - b2) * g * g;
            let (m, v) = (m[i] / (1.0 - b1.powi(t)), v[i] / (1.0 - b2.powi(t)));
            w[i] -= lr * decay * w[i] + lr * m / (v.sqrt() + eps);
        }
        let step = (trainer.step(std::slice::from_ref(&batch))).unwrap_or_else(|e| panic!("{e}"));
        assert!(step.applied && (step.norm - norm).abs() < 1e-4 * norm);
    }
    assert!(clipped > 0, "nothing was clipped");
    let change = |w: &[f64]| -> Vec<f64> { w.iter().zip(&first).map(|(a, b)| a - b).collect() };
    let off = relative_l2(&change(&values(&trainer)), &change(&w));
    println!(
        "{}: changes off by {off:.1e}, {clipped} clipped",
        device.name()
    );
    assert!(off < 1e-3, "{off:.1e}");
}
