// The JavaScript environment of a phone: the language, timers and `wx`. It has no other API of Node
// or of a browser.

import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import vm from 'node:vm';

const home = fileURLToPath(new URL('../../mini-program', import.meta.url));

/** Loads a module of the mini-program in this environment. */
export function load(name, globals = {}) {
  const context = vm.createContext({ setTimeout, clearTimeout, ...globals });
  const modules = new Map();
  const requireFrom = (directory) => (path) => {
    const file = `${resolve(directory, path)}.js`;
    if (!modules.has(file)) {
      const module = { exports: {} };
      modules.set(file, module);
      const wrapped = `(function (module, exports, require) {${readFileSync(file, 'utf8')}\n})`;
      vm.runInContext(wrapped, context, { filename: file })(module, module.exports, requireFrom(dirname(file)));
    }
    return modules.get(file).exports;
  };
  return requireFrom(home)(`./${name}`);
}
