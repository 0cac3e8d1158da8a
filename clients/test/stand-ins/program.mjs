// A phone that runs the mini-program: pages with their data, and the dialogs of `wx`.

import assert from 'node:assert/strict';

import { byteByByte, createNetwork } from './network.mjs';
import { load } from './phone.mjs';
import { createWx } from './wx.mjs';

/**
 * Returns a phone with this storage on this network.
 *
 * - `open(name, options)` opens a page. Options are encoded, as in the address of a page.
 * - `follow()` opens the page that the previous page navigated to.
 * - `choose(name, answer)` is the user's next answer to a dialog. Without one, the user cancels.
 * - `called` are the calls of `wx`, without requests and storage: `[[name, options]]`.
 *
 * `clock` may be a `createClock()`.
 */
export function createPhone({ baseUrl, token, storage = new Map(), trouble, cut = byteByByte, clock = {} }) {
  const network = createNetwork({ cut, trouble });
  const called = [];
  const answers = { showActionSheet: [], showModal: [] };
  const files = new Map();
  const note = (name, answer) => (options) => {
    called.push([name, options]);
    return answer ? answer() : Promise.resolve({});
  };
  const cancelled = () => Promise.reject(Object.assign(new Error('cancel'), { errMsg: 'showActionSheet:fail cancel' }));
  const wx = {
    ...createWx(network, storage),
    env: { USER_DATA_PATH: 'wxfile://usr' },
    getFileSystemManager: () => ({ writeFileSync: (path, text) => files.set(path, text) }),
    makePhoneCall: note('makePhoneCall'),
    navigateTo: note('navigateTo'),
    setClipboardData: note('setClipboardData'),
    setNavigationBarTitle: note('setNavigationBarTitle'),
    shareFileMessage: note('shareFileMessage'),
    showActionSheet: note('showActionSheet', () => answers.showActionSheet.shift()?.() ?? cancelled()),
    showModal: note('showModal', () => answers.showModal.shift()?.() ?? Promise.resolve({ confirm: false, cancel: true })),
    stopPullDownRefresh: note('stopPullDownRefresh'),
  };
  const choose = (name, answer) => answers[name].push(() => Promise.resolve(answer));

  let app;
  load('app', {
    App: (definition) => {
      app = definition;
    },
  });
  app.globalData.parlor = { baseUrl, token };

  const openRaw = async (name, options) => {
    const page = loadPage(name, { ...clock, wx, getApp: () => app });
    await page.onLoad(options);
    await page.onShow?.();
    return page;
  };
  const encoded = (options) => Object.fromEntries(Object.entries(options).map(([name, value]) => [name, encodeURIComponent(value)]));
  const follow = () => {
    const [, { url }] = called.findLast(([name]) => name === 'navigateTo');
    const [, name, query = ''] = /^\/pages\/(\w+)\/\1(?:\?(.*))?$/.exec(url);
    return openRaw(name, Object.fromEntries(query.split('&').filter(Boolean).map((pair) => pair.split('='))));
  };
  return { network, called, files, choose, follow, open: (name, options = {}) => openRaw(name, encoded(options)) };
}

/** Returns timers that run only when `tick` moves the time. */
export function createClock() {
  const timers = new Map();
  let now = 0;
  let newest = 0;
  return {
    setTimeout: (run, ms) => {
      newest += 1;
      timers.set(newest, { run, at: now + ms });
      return newest;
    },
    clearTimeout: (id) => timers.delete(id),
    tick: (ms) => {
      now += ms;
      for (const [id, { run, at }] of [...timers]) {
        if (at <= now && timers.delete(id)) run();
      }
    },
  };
}

/** Returns a page that is not open yet. `until` waits until its data matches. */
export function loadPage(name, globals) {
  let page;
  load(`pages/${name}/${name}`, {
    ...globals,
    Page: (definition) => {
      page = { ...definition, data: structuredClone(definition.data) };
    },
  });
  page.setData = (change) => {
    for (const [path, value] of Object.entries(change)) {
      assert.notEqual(value, undefined, `WeChat does not set ${path} to undefined`);
      const names = path.split(/[.[\]]+/).filter(Boolean);
      const last = names.pop();
      names.reduce((parent, key) => parent[key], page.data)[last] = structuredClone(value);
    }
  };
  page.until = async (what, condition) => {
    const until = Date.now() + 60000;
    while (!condition(page.data)) {
      assert.ok(Date.now() < until, `waited for: ${what}, ${JSON.stringify(page.data)}`);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  };
  /** Touches something with these `data-` attributes. */
  page.tap = (handler, dataset = {}) => page[handler]({ currentTarget: { dataset }, detail: {} });
  page.type = (value) => {
    page.onInput({ detail: { value } });
    return page.send();
  };
  return page;
}
