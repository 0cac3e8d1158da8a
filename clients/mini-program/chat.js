// Connects `core.js` to `wx.request` and to the storage of a mini-program.

const core = require('./core');
const { createDecoder } = require('./utf8');

const storage = {
  get: (key) => wx.getStorageSync(key),
  set: (key, value) => wx.setStorageSync(key, value),
  remove: (key) => wx.removeStorageSync(key),
};

/** Needs `baseUrl`, the address of Parlor, and `token()`. `token()` returns the current JWT. */
function createChat(options) {
  return core.createChat({ request, storage, ...options });
}

function request({ url, method, headers, body, isStream }, { onText, onEnd }) {
  const decode = createDecoder();
  let hasText = false;
  const hear = (bytes) => {
    const text = decode(new Uint8Array(bytes));
    if (text !== '') hasText = true;
    onText(text);
  };
  const task = wx.request({
    url,
    method,
    data: body,
    header: headers,
    enableChunked: isStream,
    responseType: 'arraybuffer',
    timeout: 600000, // The default is 60 s. `core.js` has its own limit for silence.
    success({ statusCode, header, data }) {
      // Without support for chunks, the whole body arrives here.
      if (!hasText && data) hear(data);
      const name = Object.keys(header || {}).find((key) => key.toLowerCase() === 'retry-after');
      onEnd({ status: statusCode, retryAfter: name && header[name] });
    },
    fail: () => onEnd(null),
  });
  if (task.onChunkReceived) task.onChunkReceived((chunk) => hear(chunk.data));
  return () => task.abort();
}

module.exports = { createChat };
