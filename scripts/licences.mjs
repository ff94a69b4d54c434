// Licence hygiene without cargo-deny: every dependency's licence expression must be satisfied
// by the allow list of deny.toml, and every dependency must come from crates.io.
//
//   node scripts/licences.mjs     prints each fault, exits 1 if there is one

import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..');

function fail(message) {
  console.error(`licences: ${message}`);
  process.exit(2);
}

function metadata() {
  const run = (extra) => execFileSync('cargo', ['metadata', '--format-version', '1', '--locked', ...extra],
    { cwd: ROOT, maxBuffer: 1 << 28, stdio: ['ignore', 'pipe', 'pipe'] });
  // Offline works once every platform's crates were fetched; the network fetches them.
  try {
    return JSON.parse(run(['--offline']));
  } catch {
    try {
      return JSON.parse(run([]));
    } catch (error) {
      return fail(`cargo metadata failed: ${String(error.stderr ?? error.message).trim()}`);
    }
  }
}

function allowList() {
  const text = readFileSync(join(ROOT, 'deny.toml'), 'utf8').replace(/^\s*#.*$/gm, '');
  const list = text.match(/^allow\s*=\s*\[([^\]]*)\]/m)?.[1];
  const names = [...(list ?? '').matchAll(/"([^"]+)"/g)].map((match) => match[1]);
  return names.length > 0 ? new Set(names) : fail('deny.toml has no list `allow = [...]`');
}

/** Whether an SPDX expression (AND, OR, WITH, parentheses, the old `A/B`) can be satisfied. */
function allowed(expression, allow) {
  const tokens = expression.replaceAll('/', ' OR ').match(/\(|\)|[^\s()]+/g) ?? [];
  let at = 0;
  const term = () => {
    if (tokens[at] === '(') {
      at++;
      const inner = either();
      if (tokens[at++] !== ')') throw new Error('unbalanced parentheses');
      return inner;
    }
    let name = tokens[at++];
    if (!name || name === ')') throw new Error('a licence name is missing');
    if (tokens[at] === 'WITH') {
      name += ` WITH ${tokens[at + 1]}`;
      at += 2;
    }
    return allow.has(name);
  };
  const both = () => {
    let result = term();
    while (tokens[at] === 'AND') { at++; result = term() && result; }
    return result;
  };
  const either = () => {
    let result = both();
    while (tokens[at] === 'OR') { at++; result = both() || result; }
    return result;
  };
  const result = either();
  if (at !== tokens.length) throw new Error(`\`${tokens[at]}\` is unexpected`);
  return result;
}

const allow = allowList();
const faults = [];
const { packages } = metadata();
for (const { name, version, license, license_file: file, source } of packages) {
  const who = `${name} ${version}`;
  if (source !== null && !/^(registry|sparse)\+https:\/\/(github\.com\/rust-lang\/crates\.io-index|index\.crates\.io)/.test(source))
    faults.push(`${who}: comes from ${source}, expected crates.io`);
  try {
    if (!license) faults.push(`${who}: no licence expression${file ? ` (only the file ${file})` : ''}`);
    else if (!allowed(license, allow)) faults.push(`${who}: licence "${license}" is not allowed by deny.toml`);
  } catch (error) {
    faults.push(`${who}: cannot read the licence "${license}": ${error.message}`);
  }
}
faults.forEach((fault) => console.log(fault));
console.log(`licences: ${packages.length} packages, ${faults.length} faults`);
process.exit(faults.length === 0 ? 0 : 1);
