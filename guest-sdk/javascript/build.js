#!/usr/bin/env node
// Makes a component of a plugin: bundles its modules into one (TypeScript too), and puts that into a JavaScript engine.
//
//   node build.js SOURCE --output COMPONENT [--search]
//
// `--search` is for a plugin that finds (capability `search`). Journal, tables and memory need no
// option: a plugin may use what its manifest requests, and a call that uses more ends.
//
// Invariant: the component imports nothing but the contract: no clock, no randomness, no I/O. Standard output is one line.

import { spawnSync } from 'node:child_process';
import { readFile, rename, stat, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';

const here = dirname(fileURLToPath(import.meta.url));

/** A tool, if it is there: from where `PORTCULLIS_JAVASCRIPT_TOOLS` says, the author's project or a folder above it, or this folder. */
async function tool(name) {
  for (const home of [process.env.PORTCULLIS_JAVASCRIPT_TOOLS, ...above(process.cwd()), here].filter(Boolean)) {
    const folder = join(home, 'node_modules', name);
    const described = await readFile(join(folder, 'package.json'), 'utf8').catch(() => undefined);
    if (described === undefined) continue;
    const { exports, main } = JSON.parse(described);
    const { import: module, default: other } = exports?.['.'] ?? exports ?? {};
    return import(pathToFileURL(join(folder, module ?? other ?? main)));
  }
  return undefined;
}

/** The same, fetched once where it is missing and the folder is a project of npm's. */
async function fetched(name) {
  const there = await tool(name);
  if (there !== undefined) return there;
  if (await stat('package.json').catch(() => undefined)) {
    console.error('fetching the packages that package.json names (once)');
    spawnSync('npm', ['install', '--silent', '--no-audit', '--no-fund', '--ignore-scripts'], { stdio: ['ignore', 2, 2] });
  }
  return (
    (await tool(name)) ?? fail(`the package \`${name}\` is missing\nhint: run \`npm install\` in the plugin's folder`)
  );
}

function above(folder) {
  const parent = dirname(folder);
  return parent === folder ? [folder] : [folder, ...above(parent)];
}

/** The contract: beside this folder in a project that carries the SDK with it, else where the repository has it. */
async function contract() {
  for (const folder of [join(here, 'wit'), join(here, '../../wit')]) {
    if (await stat(join(folder, 'policy.wit')).catch(() => undefined)) return folder;
  }
  fail(`\`policy.wit\` is missing beside ${here}`);
}

function fail(why) {
  console.error(`error: ${why}`);
  process.exit(1);
}

/** What is switched off in the engine: everything that the sandbox does not give. */
const OFF = ['stdio', 'random', 'clocks', 'http', 'fetch-event'];

/** The bundle: one module with the plugin's exports, the contract's interfaces left to the engine. */
async function bundle(esbuild, source) {
  const { outputFiles } = await esbuild.build({
    entryPoints: [source],
    bundle: true,
    write: false,
    format: 'esm',
    target: 'es2022',
    legalComments: 'none',
    alias: {
      'portcullis-guest': join(here, 'src/index.js'),
      'portcullis-guest/calendar': join(here, 'src/calendar.js'),
    },
    external: ['portcullis:*'],
    // The contract's functions instead of those for tests: see `imports` in package.json.
    conditions: ['portcullis-sandbox'],
    logLevel: 'error',
  });
  return outputFiles[0].text;
}

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: { output: { type: 'string' }, search: { type: 'boolean' } },
});
if (positionals.length !== 1 || options.output === undefined) {
  fail('usage: node build.js SOURCE --output COMPONENT [--search]');
}
const [major] = process.versions.node.split('.');
if (Number(major) < 20) fail(`Node.js ${process.versions.node} is too old\nhint: 20 or newer is needed`);

const { componentize } = await fetched('@bytecodealliance/componentize-js');
const source = resolve(positionals[0]);
const { default: esbuild } = await fetched('esbuild');
const code = await bundle(esbuild, source).catch((error) => fail(error.message));
const worldName = `${options.search ? 'search-' : ''}plugin`;
const { component } = await componentize(code, { witPath: await contract(), worldName, disableFeatures: OFF }).catch(
  (error) => fail(error.message),
);
// Whole or not at all.
await writeFile(`${options.output}.part`, component);
await rename(`${options.output}.part`, options.output);
console.log(`${options.output}: ${component.length} bytes, world ${worldName}`);
process.exit(0);
