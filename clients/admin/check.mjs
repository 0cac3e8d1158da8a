// Checks that the generated types are current, that they compile, and that the examples in
// `README.md` compile and run against a Parlor. Needs `node_modules` in this folder.
//
// Variables: PARLOR_URL, PARLOR_TOKEN (of an admin), OPENAPI (the path of `openapi.json`).

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const HERE = fileURLToPath(new URL('.', import.meta.url));
const { PARLOR_URL, PARLOR_TOKEN, OPENAPI } = process.env;
const TSC = '--strict --skipDefaultLibCheck --module nodenext --target es2022'.split(' ');

// Node.js has no `localStorage`.
const STORAGE = `const kept = new Map();
Object.defineProperty(globalThis, 'localStorage', { value: {
  getItem: (key) => kept.get(key) ?? null,
  setItem: (key, value) => kept.set(key, value),
  removeItem: (key) => kept.delete(key),
} });
`;

/** Runs a script of Node.js in this folder. Returns its output. */
async function run(...args) {
  try {
    const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: HERE });
    return stdout;
  } catch ({ stdout, stderr }) {
    throw new Error(`${args.join(' ')}\n${stdout}${stderr}`);
  }
}

test('schema.d.ts is current', async () => {
  const { scripts } = JSON.parse(readFileSync(`${HERE}package.json`, 'utf8'));
  const [, , ...flags] = scripts.generate.split(' ');
  await run('node_modules/openapi-typescript/bin/cli.js', OPENAPI, ...flags, '--check').catch((error) => {
    throw new Error(`run: cd clients/admin && npm ci && npm run generate\n${error.message}`);
  });
});

test('the examples compile and run', async () => {
  const page = readFileSync(`${HERE}README.md`, 'utf8');
  const examples = [...page.matchAll(/^```ts\n([^]*?)^```$/gm)].map(([, code]) => code);
  assert.equal(examples.length, 3);
  mkdirSync(`${HERE}examples`, { recursive: true });
  const settings = { baseUrl: PARLOR_URL, token: PARLOR_TOKEN };
  const constants = Object.entries(settings)
    .map(([name, value]) => `export const ${name} = ${JSON.stringify(value)};\n`);
  writeFileSync(`${HERE}examples/settings.ts`, constants.join(''));
  writeFileSync(`${HERE}examples/storage.mjs`, STORAGE);
  const files = examples.map((code, index) => {
    assert.ok(code.split('\n').length <= 11, `an example has more than 10 lines:\n${code}`);
    writeFileSync(`${HERE}examples/${index}.ts`, code);
    return `examples/${index}.ts`;
  });
  await run('node_modules/typescript/bin/tsc', ...TSC, ...files);

  const [runs, retried, reply] = await Promise.all(examples.map((_, index) => (
    run('--import', './examples/storage.mjs', `examples/${index}.js`)
  )));
  assert.match(runs, /^\d+ app\d_\w+ \w+$/m);
  assert.match(retried, /^new job \d+$/m);
  assert.match(reply, /^complete \d+$/m);
});
