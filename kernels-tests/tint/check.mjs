// Compiles every .wgsl file of a directory with Tint, the compiler of Chrome (Dawn for node).
//
//   node check.mjs DIRECTORY     prints each fault as file:line:column, exits 1 if there is one
//   node check.mjs --self-test   samples/good must compile, each of samples/bad must not
//
// Twice, because no software adapter offers Dawn every feature:
//   front   Dawn's null backend, which has all features: parsing, types, uniformity and
//           bindings of every shader, f16 included
//   driver  SwiftShader: Tint also writes SPIR-V and the driver compiles it; only shaders
//           whose `enable` lines this adapter has (SwiftShader lacks f16), and which fit its
//           limits. What was left out is counted in the summary.
// VK_DRIVER_FILES names the drivers (scripts/test.sh sets it).

import { readFileSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const HERE = dirname(fileURLToPath(import.meta.url));
// A WGSL `enable` name, and the WebGPU feature that must be asked for.
const FEATURES = { f16: 'shader-f16', subgroups: 'subgroups' };
// Browsers take these messages for errors too, but they speak of the adapter, not the shader:
// which variant an adapter gets is decided, and tested, elsewhere.
const LIMIT = /exceeds the maximum (allowed|.*limit)|is larger than the maximum|greater than the (device )?limit/i;

function fail(message) {
  console.error(`tint: ${message}`);
  process.exit(2);
}

const { create, globals } = await import('webgpu').catch((error) =>
  fail(`cannot load the npm package \`webgpu\`; run scripts/setup-test.sh (${error.message.split('\n')[0]})`));
Object.assign(globalThis, globals);

/** Opens a device with everything its adapter offers; null where there is none. */
async function open(options) {
  // Tint otherwise zeroes workgroup memory in a loop that SwiftShader takes seconds to compile.
  const gpu = create([...options, 'enable-dawn-features=disable_workgroup_init']);
  const adapter = await gpu.requestAdapter().catch(() => null);
  if (!adapter) return null;
  const requiredLimits = {};
  for (const key in adapter.limits) requiredLimits[key] = adapter.limits[key];
  const features = Object.values(FEATURES).filter((name) => adapter.features.has(name));
  const device = await adapter.requestDevice({ requiredFeatures: features, requiredLimits });
  return { gpu, device, features: new Set(features) };
}

/** The features that the `enable` lines of a shader ask for. */
function wanted(code) {
  const names = [...code.matchAll(/^\s*enable\s+([^;]+);/gm)].flatMap((m) => m[1].split(','));
  return names.map((name) => FEATURES[name.trim()] ?? name.trim());
}

const onAdapter = (target, code) => wanted(code).every((name) => target.features.has(name));

/** Front end: the messages of the compiler, as `file:line:column: text`. */
async function compile(target, file, code) {
  target.device.pushErrorScope('validation');
  const module = target.device.createShaderModule({ label: file, code });
  const { messages } = await module.getCompilationInfo();
  const invalid = await target.device.popErrorScope();
  const faults = messages
    .filter((m) => m.type !== 'warning')
    .map((m) => `${file}:${m.lineNum}:${m.linePos}: ${m.type}: ${m.message}`);
  const failed = invalid !== null || messages.some((m) => m.type === 'error');
  if (failed && faults.length === 0) faults.push(`${file}:1:1: error: ${invalid?.message}`);
  return { module, faults: failed ? faults : [] };
}

/** Makes the pipeline. Resolves to null, or to Dawn's message. */
function pipeline(target, module) {
  return target.device
    .createComputePipelineAsync({ layout: 'auto', compute: { module } })
    .then(() => null, (error) => error.message.split('\n')[0]);
}

/** Checks one shader: { faults, driver, limited }. */
async function check(front, driver, file, code) {
  const { module, faults } = await compile(front, file, code);
  if (faults.length > 0) return { faults, driver: false, limited: false };
  const full = onAdapter(driver, code);
  const target = full ? driver : front;
  const compiled = full ? await compile(driver, file, code) : { module, faults: [] };
  if (compiled.faults.length > 0) return { ...compiled, driver: true, limited: false };
  const error = await pipeline(target, compiled.module);
  if (error && LIMIT.test(error)) return { faults: [], driver: false, limited: true };
  return { faults: error ? [`${file}:1:1: error: ${error}`] : [], driver: full, limited: false };
}

function shaders(directory) {
  let names;
  try {
    names = readdirSync(directory, { recursive: true });
  } catch (error) {
    fail(`cannot read the directory of shaders: ${error.message}`);
  }
  names = names.filter((name) => name.endsWith('.wgsl')).sort();
  if (names.length === 0) fail(`no .wgsl file in ${directory}: nothing would be checked`);
  return names.map((name) => join(directory, name));
}

/** Checks a list of files, a few at a time; results in the order of the files. */
async function checkAll(front, driver, files) {
  const results = new Array(files.length);
  let next = 0;
  const worker = async () => {
    while (next < files.length) {
      const at = next++;
      results[at] = await check(front, driver, files[at], readFileSync(files[at], 'utf8'));
    }
  };
  await Promise.all(Array.from({ length: 4 }, worker));
  return results;
}

async function main(argument) {
  if (!argument) fail('usage: node check.mjs DIRECTORY | --self-test');
  const front = await open(['backend=null']);
  const driver = await open(['backend=vulkan', 'adapter=SwiftShader']);
  if (!front) fail('Dawn has no null backend');
  if (!driver) fail('Dawn finds no SwiftShader; set VK_DRIVER_FILES to vk_swiftshader_icd.json');
  for (const name of Object.values(FEATURES)) {
    if (!front.features.has(name)) fail(`Dawn's null backend lacks ${name}`);
  }

  if (argument === '--self-test') {
    const good = shaders(join(HERE, 'samples', 'good'));
    const bad = shaders(join(HERE, 'samples', 'bad'));
    const wrong = [];
    (await checkAll(front, driver, good)).forEach(({ faults }) => wrong.push(...faults));
    (await checkAll(front, driver, bad)).forEach(({ faults }, at) => {
      const expected = readFileSync(bad[at], 'utf8').match(/^\/\/ expect: (.*)$/m)?.[1];
      if (!expected) wrong.push(`${bad[at]}:1:1: lacks its line \`// expect: TEXT\``);
      else if (!faults.some((fault) => fault.includes(expected)))
        wrong.push(`${bad[at]}:1:1: expected "${expected}", found: ${faults.join('; ') || 'no fault'}`);
    });
    wrong.forEach((line) => console.log(line));
    console.log(`tint: self-test, ${good.length} good and ${bad.length} bad samples, ${wrong.length} wrong`);
    return wrong.length === 0 ? 0 : 1;
  }

  const files = shaders(argument);
  const results = await checkAll(front, driver, files);
  const failed = results.filter(({ faults }) => faults.length > 0);
  failed.forEach(({ faults }) => faults.forEach((line) => console.log(line)));
  const limited = files.filter((_, at) => results[at].limited);
  limited.forEach((file) => console.log(`tint: note: ${file}: beyond the limits here, front end only`));
  const driven = results.filter((result) => result.driver).length;
  console.log(
    `tint: ${files.length} shaders, ${failed.length} failed; ${driven} also compiled by the driver, ` +
      `${limited.length} beyond its limits`,
  );
  return failed.length === 0 ? 0 : 1;
}

const status = await main(process.argv[2]);
// Dawn keeps threads; leaving without waiting for them is safe once the results are in.
process.exit(status);
