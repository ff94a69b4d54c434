//! Language models of the hub, against a small server of this test.

use cascadia::io::LanguageFiles;
use cascadia::io::hub::Hub;
use cascadia::io::save;
use cascadia::tensor::Tensor;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

const COMMITS: [&str; 2] = [
    "0123456789abcdef0123456789abcdef01234567",
    "89abcdef0123456789abcdef0123456789abcdef",
];

/// Serves `files` of one model; what was asked for is in the list. The commit changes after `changes` requests.
fn serve(
    files: BTreeMap<String, Vec<u8>>,
    changes: usize,
) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = seen.clone();
    // Ends with the test's process.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let asked = log.lock().unwrap().len();
            let commit = COMMITS[usize::from(asked >= changes)];
            if let Ok(path) = answer(stream.unwrap(), &files, commit) {
                log.lock().unwrap().push(path);
            }
        }
    });
    (address, seen)
}

fn answer(
    mut stream: TcpStream,
    files: &BTreeMap<String, Vec<u8>>,
    commit: &str,
) -> std::io::Result<String> {
    let (mut name, mut start, mut end) = (String::new(), 0, None);
    for line in BufReader::new(stream.try_clone()?).lines() {
        let line = line?;
        if line.is_empty() {
            break;
        } else if name.is_empty() {
            name = line
                .split(' ')
                .nth(1)
                .unwrap_or_default()
                .rsplit('/')
                .next()
                .unwrap_or_default()
                .to_string();
        } else if let Some(range) = line.to_lowercase().strip_prefix("range: bytes=") {
            let (a, b) = range.split_once('-').unwrap_or((range, ""));
            (start, end) = (a.parse().unwrap_or(0), b.parse::<usize>().ok());
        }
    }
    let Some(whole) = files.get(&name) else {
        write!(
            stream,
            "HTTP/1.1 404 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )?;
        return Ok(name);
    };
    let end = end.map_or(whole.len(), |e| (e + 1).min(whole.len()));
    let part = &whole[start.min(end)..end];
    write!(
        stream,
        "HTTP/1.1 206 Partial Content\r\nETag: \"{commit}{name}\"\r\nX-Repo-Commit: {commit}\r\nConnection: close\r\n\
         Content-Range: bytes {start}-{}/{}\r\nContent-Length: {}\r\n\r\n",
        end.max(1) - 1,
        whole.len(),
        part.len()
    )?;
    stream.write_all(part)?;
    Ok(name)
}

fn hub(address: SocketAddr, cache: &Path) -> Hub {
    let set = [
        ("HF_ENDPOINT", format!("http://{address}")),
        ("HF_HUB_CACHE", cache.display().to_string()),
    ];
    Hub::from_variables(|n| set.iter().find(|(k, _)| *k == n).map(|(_, v)| v.clone())).unwrap()
}

fn weights(values: &[(&str, f32)]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w");
    let tensors: Vec<(String, Tensor)> = values
        .iter()
        .map(|(n, v)| (n.to_string(), Tensor::from_f32(&[1], &[*v]).unwrap()))
        .collect();
    save(&path, &tensors, None).unwrap();
    std::fs::read(path).unwrap()
}

fn files(sharded: bool) -> BTreeMap<String, Vec<u8>> {
    let mut out = BTreeMap::new();
    let mut put = |name: &str, bytes: &[u8]| out.insert(name.to_string(), bytes.to_vec());
    put("config.json", br#"{"model_type": "llama"}"#);
    put("generation_config.json", br#"{"top_k": 5}"#);
    if sharded {
        put(
            "model.safetensors.index.json",
            br#"{"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}"#,
        );
        put("a.safetensors", &weights(&[("x", 1.0)]));
        put("b.safetensors", &weights(&[("y", 2.0)]));
    } else {
        put("model.safetensors", &weights(&[("x", 1.0), ("y", 2.0)]));
    }
    out
}

#[test]
fn all_files_of_a_model_are_fetched_once() {
    for sharded in [true, false] {
        let cache = tempfile::tempdir().unwrap();
        let (address, seen) = serve(files(sharded), usize::MAX);
        let mut hub = hub(address, cache.path());
        let found = LanguageFiles::fetch(&hub, "owner/name", &mut ()).unwrap();
        assert_eq!(found.generation.top_k, Some(5));
        assert_eq!(found.weights.values("y").unwrap().to_f32(), [2.0]);
        assert!(seen.lock().unwrap().len() > 6);
        hub.offline = true;
        let before = seen.lock().unwrap().len();
        let again = LanguageFiles::fetch(&hub, "owner/name", &mut ()).unwrap();
        assert_eq!(again.path, found.path);
        assert_eq!(seen.lock().unwrap().len(), before);
    }
}

#[test]
fn a_model_that_moves_on_meanwhile_is_fetched_as_one() {
    let cache = tempfile::tempdir().unwrap();
    let (address, _) = serve(files(true), 3);
    let found = LanguageFiles::fetch(&hub(address, cache.path()), "owner/name", &mut ()).unwrap();
    assert!(found.path.ends_with(COMMITS[1]), "{}", found.path.display());
    assert_eq!(found.weights.values("x").unwrap().to_f32(), [1.0]);
}

#[test]
fn what_the_hub_lacks_is_named() {
    let cache = tempfile::tempdir().unwrap();
    for missing in [
        "config.json",
        "b.safetensors",
        "model.safetensors.index.json",
    ] {
        let mut some = files(true);
        some.remove(missing);
        let (address, _) = serve(some, usize::MAX);
        let cache = cache.path().join(missing);
        let error = LanguageFiles::fetch(&hub(address, &cache), "owner/name", &mut ())
            .unwrap_err()
            .to_string();
        let named = if missing.ends_with("index.json") {
            "model.safetensors"
        } else {
            missing
        };
        assert!(
            error.contains(named) && error.contains("404") && !error.contains('\n'),
            "{error}"
        );
    }
    let (address, _) = serve(BTreeMap::new(), usize::MAX);
    let error = hub(address, cache.path())
        .fetch_if_there("no id", "config.json", &mut ())
        .unwrap_err();
    assert!(error.to_string().contains("`no id`"));
    let none = hub(address, cache.path()).fetch_if_there("owner/name", "config.json", &mut ());
    assert!(none.unwrap().is_none());
}
