// The decoder and the parsers, with difficult input that is cut at every place.

import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { test } from 'node:test';

import '../core.js';
import { load } from './stand-ins/phone.mjs';

const { createDecoder } = load('utf8');
const { createParser: createPhoneParser } = load('../core');
const { createParser: createBrowserParser } = globalThis.parlorCore;

const STREAM = [
  '\ufeff: a comment after the mark\r\n',
  'id: 7-0\nevent: start\ndata: {"一":"🎱"}\n\n',
  'event: message\r\nid: 7-1\r\ndata:no space\r\n\r\n',
  'event: message\rid: 7-2\rdata:  two spaces\r\r',
  ': ping\n\n',
  'data: a\ndata\ndata: 末\u{10ffff}é\n\n',
  'event: forgotten\n\n',
  'unknown: x\nretry: 10\nid: with\0nul\ndata: id stays\n\n',
  '\ufeffdata: no second mark\ndata: mixed\r\n\n',
  'id\ndata: id emptied\r\r\n',
  'data: never ended\n',
].join('');

const EVENTS = [
  { id: '7-0', event: 'start', data: '{"一":"🎱"}' },
  { id: '7-1', event: 'message', data: 'no space' },
  { id: '7-2', event: 'message', data: ' two spaces' },
  { id: '7-2', event: 'message', data: 'a\n\n末\u{10ffff}é' },
  { id: '7-2', event: 'message', data: 'id stays' },
  { id: '7-2', event: 'message', data: 'mixed' },
  { id: '', event: 'message', data: 'id emptied' },
];

/** Cuts at each pair of places that are at most one character apart, then at every place. */
function* cuttings(bytes) {
  for (let first = 0; first <= bytes.length; first += 1) {
    for (let second = first; second <= Math.min(first + 4, bytes.length); second += 1) {
      yield [bytes.subarray(0, first), bytes.subarray(first, second), bytes.subarray(second)];
    }
  }
  yield Array.from(bytes, (_, i) => bytes.subarray(i, i + 1));
}

for (const [name, createParser] of [['mini-program', createPhoneParser], ['browser', createBrowserParser]]) {
  test(`${name}: events are the same however the stream is cut`, () => {
    for (const chunks of cuttings(new TextEncoder().encode(STREAM))) {
      const events = [];
      const decode = createDecoder();
      // Objects from a phone's module belong to another realm.
      const parse = createParser(({ id, event, data }) => events.push({ id, event, data }));
      for (const chunk of chunks) parse(decode(chunk));
      assert.deepEqual(events, EVENTS);
    }
  });
}

test('the decoder reads whatever bytes as a TextDecoder does, however they are cut', () => {
  const nasty = [
    'aé末🎱\u{10ffff}\u{7f}\u{80}\u{7ff}\u{800}\u{ffff}\u{10000}\ufeff\0',
    [0x80, 0xbf, 0x41, 0xc0, 0xaf, 0xc1, 0x81, 0xc2, 0x41, 0xc2, 0xc2, 0xa9, 0xf5, 0xff, 0xfe],
    [0xe0, 0x80, 0x80, 0xe0, 0x9f, 0xbf, 0xe0, 0xa0, 0x80, 0xed, 0xa0, 0x80, 0xed, 0x9f, 0xbf, 0xed, 0xbf, 0xbf],
    [0xf0, 0x80, 0x80, 0x80, 0xf0, 0x8f, 0xbf, 0xbf, 0xf0, 0x90, 0x80, 0x80, 0xf4, 0x90, 0x80, 0x80, 0xf4, 0x8f, 0xbf, 0xbf],
    [0xe6, 0x9c, 0x41, 0xf0, 0x9f, 0x8e, 0x0a, 0xf0, 0x9f, 0x41, 0xe6, 0xe6, 0x9c, 0xab, 0xf0, 0x9f, 0x8e, 0xe6, 0x9c, 0xab, 0x21],
  ];
  for (const piece of nasty) {
    const bytes = typeof piece === 'string' ? new TextEncoder().encode(piece) : Uint8Array.from(piece);
    for (const chunks of cuttings(bytes)) assertReadsAlike(chunks);
  }
  for (let round = 0; round < 20000; round += 1) {
    // Bytes at the borders of valid ranges, which random bytes rarely are.
    const borders = [0x00, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc1, 0xc2, 0xdf, 0xe0, 0xed, 0xef, 0xf0, 0xf4, 0xf5, 0xff];
    const random = Array.from({ length: 6 }, () => borders[Math.floor(Math.random() * borders.length)]);
    assertReadsAlike(Array.from(random, (byte) => Uint8Array.of(byte)));
  }
});

function assertReadsAlike(chunks) {
  const decode = createDecoder();
  const reference = new TextDecoder('utf-8', { ignoreBOM: true });
  for (const chunk of chunks) {
    // The decoder may report an incomplete character one byte later. The whole text is the same.
    assert.equal(decode(chunk), reference.decode(chunk, { stream: true }), `${chunks.map((part) => [...part])}`);
  }
}

test('both variants have the same parser', () => {
  assert.equal(String(createPhoneParser), String(createBrowserParser));
});

test('the mini-program needs nothing that phones lack', () => {
  const home = new URL('../mini-program/', import.meta.url);
  const pages = readdirSync(new URL('pages', home)).map((name) => `pages/${name}/${name}.js`);
  const names = [...readdirSync(home).filter((name) => name.endsWith('.js')), ...pages];
  assert.ok(names.length > 10);
  for (const name of names) {
    const source = readFileSync(new URL(name, home), 'utf8');
    const code = source.replace(/\/\*[^]*?\*\/|\/\/.*$/gm, '');
    assert.doesNotMatch(code, /TextDecoder|EventSource|\bfetch\b|AbortController|\bBuffer\b|\bprocess\b|\bimport\b/, name);
  }
});
