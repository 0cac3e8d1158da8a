// A browser's `fetch` on a bad network, based on Node's.

/** Returns a `fetch` that uses this network. */
export function createFetch(network) {
  return async (url, { method, headers, body, signal }) => {
    if (!/\/stream(\/\d+\?after=\d+)?$/.test(url)) return fetch(url, { method, headers, body, signal });
    const plan = network.begin({ method, url, header: headers, body: body && JSON.parse(body) });
    if (plan.answer) return new Response(plan.answer.body, { status: plan.answer.status, headers: plan.answer.headers });

    const own = new AbortController();
    const forget = () => own.abort();
    signal.addEventListener('abort', forget);
    if (plan.early) setTimeout(forget, Math.random() * 20);
    const response = await fetch(url, { method, headers, body, signal: own.signal });
    network.answered(response.status);
    if (plan.at === -1) {
      own.abort();
      throw new TypeError('fetch failed');
    }
    const reader = response.body.getReader();
    const waiting = [];
    let broken = plan.at === 0;
    let silent = plan.stall === 0;
    const stream = new ReadableStream(
      {
        async pull(controller) {
          while (waiting.length === 0) {
            if (broken) {
              own.abort();
              throw new TypeError('terminated');
            }
            if (silent) await new Promise((resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
            const { done, value } = await reader.read();
            if (done) {
              controller.close();
              return;
            }
            const passed = network.pass(plan, value);
            waiting.push(...passed.chunks);
            ({ broken, silent } = passed);
          }
          controller.enqueue(waiting.shift());
        },
        cancel: () => own.abort(),
      },
      { highWaterMark: 0 },
    );
    signal.addEventListener('abort', () => {
      reader.cancel().catch(() => {});
    });
    return new Response(stream, { status: response.status, headers: response.headers });
  };
}
