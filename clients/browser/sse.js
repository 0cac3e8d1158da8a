// Server-sent events that come in pieces, cut anywhere.

/** Makes a function that takes text and calls `onEvent({ id, event, data })` for each event that is whole. */
export function createParser(onEvent) {
  let fresh = true; // Nothing has come yet: a byte order mark may.
  let afterCr = false; // The last line ended in CR: an LF belongs to that end.
  let line = '';
  let id = '';
  let event = '';
  let data = null;

  function endLine() {
    if (line === '') {
      if (data !== null) onEvent({ id, event: event || 'message', data });
      event = '';
      data = null;
      return;
    }
    const colon = line.indexOf(':');
    const field = colon < 0 ? line : line.slice(0, colon); // Empty for a comment.
    let value = colon < 0 ? '' : line.slice(colon + 1);
    if (value[0] === ' ') value = value.slice(1);
    line = '';
    if (field === 'data') data = data === null ? value : `${data}\n${value}`;
    else if (field === 'event') event = value;
    else if (field === 'id' && !value.includes('\0')) id = value;
  }

  return (text) => {
    let from = 0;
    if (fresh && text !== '') {
      fresh = false;
      if (text[0] === '\ufeff') from = 1;
    }
    for (let i = from; i < text.length; i += 1) {
      const character = text[i];
      if (character === '\n' && afterCr) {
        from = i + 1;
      } else if (character === '\n' || character === '\r') {
        line += text.slice(from, i);
        from = i + 1;
        endLine();
      }
      afterCr = character === '\r';
    }
    line += text.slice(from);
  };
}
