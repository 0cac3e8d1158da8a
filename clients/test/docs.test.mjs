// The excerpts in the documentation are equal to the files.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

test('excerpts are equal to the files', () => {
  const root = new URL('../../', import.meta.url);
  const page = readFileSync(new URL('docs/clients.md', root), 'utf8');
  const excerpts = [...page.matchAll(/^From \[`[^`]+`\]\(\.\.\/([^)]+)\):\n\n```js\n([^]*?)^```$/gm)];
  assert.equal(excerpts.length, page.match(/^```js$/gm).length, 'each excerpt says where it is from');
  assert.ok(excerpts.length > 3);
  for (const [, file, excerpt] of excerpts) {
    const source = readFileSync(new URL(file, root), 'utf8');
    assert.ok(source.includes(`\n${excerpt}`), `${file} has no such lines:\n${excerpt}`);
  }
});
