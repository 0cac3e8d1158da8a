// A server with the bodies of the HTTP contract, for pages of the mini-program.

import { createServer } from 'node:http';

/**
 * Starts a server on loopback. `routes` has a function for each `METHOD /path`, without the prefix
 * `/api/xcx` and without a query. It gets `{ query, body }` and returns the JSON body, or one of
 * `refused(…)`, `noContent` and `streamed(…)`. Other paths are 404. `requests` are those received.
 */
export async function serve(routes) {
  const requests = [];
  const server = createServer(async (request, response) => {
    let text = '';
    for await (const piece of request) text += piece;
    const { pathname, searchParams } = new URL(request.url, 'http://localhost');
    const what = {
      route: `${request.method} ${pathname.replace('/api/xcx', '')}`,
      query: Object.fromEntries(searchParams),
      body: text === '' ? undefined : JSON.parse(text),
    };
    requests.push(what);
    const route = routes[what.route] ?? (() => refused(404, 'not_found', '内容不存在'));
    const result = route(what);
    if (result instanceof Reply) await result.write(response);
    else await json(200, result).write(response);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const close = () => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  };
  const sent = (route) => requests.filter((request) => request.route === route);
  return { baseUrl: `http://127.0.0.1:${server.address().port}`, routes, requests, sent, close };
}

class Reply {
  constructor(write) {
    this.write = write;
  }
}

const json = (status, body) => new Reply((response) => {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
});

export const created = (body) => json(201, body);
export const accepted = (body) => json(202, body);
export const refused = (status, code, detail, more) => json(status, { detail, code, requestId: 'test', ...more });
export const noContent = new Reply((response) => {
  response.writeHead(204).end();
});

/** A stream of these events, `[id, event, data]`. Promises in between are waited for. */
export const streamed = (...events) => new Reply(async (response) => {
  response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' });
  for (const event of events) {
    const [id, name, data] = await event;
    response.write(`id: ${id}\nevent: ${name}\ndata: ${JSON.stringify(data)}\n\n`);
  }
  response.end();
});

/** A function that is waited for, and one that ends the wait. */
export function gate() {
  let open;
  const opened = new Promise((resolve) => {
    open = resolve;
  });
  return { opened, open };
}
