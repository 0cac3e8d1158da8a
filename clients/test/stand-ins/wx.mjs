// A phone's `wx.request`, based on node:http.

import http from 'node:http';

/** Returns a `wx` that uses this network, with a Map as storage. */
export function createWx(network, storage = new Map()) {
  return {
    getStorageSync: (key) => (storage.has(key) ? structuredClone(storage.get(key)) : ''),
    setStorageSync: (key, value) => storage.set(key, structuredClone(value)),
    removeStorageSync: (key) => storage.delete(key),
    request: (options) => request(network, options),
  };
}

function request(network, { url, method = 'GET', data, header = {}, enableChunked = false, responseType, success, fail }) {
  const plan = enableChunked ? network.begin({ method, url, header, body: data && structuredClone(data) }) : {};
  const chunkListeners = [];
  let over = false;
  const settle = (callback, value) => {
    if (over) return;
    over = true;
    sent.destroy();
    setImmediate(() => callback?.(value));
  };
  const broken = (why) => settle(fail, { errMsg: `request:fail ${why}` });

  const sent = http.request(url, { method, headers: header, agent: false });
  sent.on('error', (error) => broken(error.message));
  sent.on('finish', () => {
    if (plan.early) setTimeout(() => broken('early'), Math.random() * 20);
  });
  sent.on('response', (response) => {
    if (enableChunked) network.answered(response.statusCode);
    if (plan.at === -1) {
      broken('no head');
      return;
    }
    const received = [];
    response.on('error', (error) => broken(error.message));
    response.on('aborted', () => broken('aborted'));
    response.on('data', (bytes) => {
      if (over) return;
      if (!enableChunked || plan.atOnce) {
        received.push(bytes);
        return;
      }
      const passed = network.pass(plan, bytes);
      for (const chunk of passed.chunks) {
        // A phone passes a new ArrayBuffer.
        for (const listener of chunkListeners) if (!over) listener({ data: new Uint8Array(chunk).buffer });
      }
      if (passed.broken) broken('dropped');
    });
    if (plan.at === 0) broken('dropped');
    response.on('end', () => {
      // After chunks, a phone passes no body to `success`.
      const body = enableChunked && !plan.atOnce ? new ArrayBuffer(0) : parsed(Buffer.concat(received).toString(), responseType);
      settle(success, { statusCode: response.statusCode, header: response.headers, data: body });
    });
  });
  if (plan.answer) {
    const { status, headers, body } = plan.answer;
    setImmediate(() => {
      for (const listener of chunkListeners) listener({ data: new TextEncoder().encode(body).buffer });
      settle(success, { statusCode: status, header: headers, data: new ArrayBuffer(0) });
    });
  } else {
    sent.end(data === undefined ? undefined : JSON.stringify(data));
  }
  return {
    // Base libraries before 2.20.2 lack this method.
    ...(plan.atOnce ? {} : { onChunkReceived: (listener) => chunkListeners.push(listener) }),
    abort: () => broken('abort'),
  };
}

function parsed(text, responseType) {
  if (responseType === 'arraybuffer') return new TextEncoder().encode(text).buffer;
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
