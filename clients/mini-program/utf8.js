// Decodes UTF-8 in pieces. Phones have no TextDecoder, and a chunk may end inside a character.

/**
 * Returns a function from bytes (Uint8Array) to text. The function keeps the start of a character
 * until the rest arrives. It replaces invalid bytes with U+FFFD, exactly as TextDecoder does.
 */
function createDecoder() {
  let point = 0; // The bits of the current character so far.
  let missing = 0; // The number of its bytes that have not arrived.
  let least = 0x80; // The valid range of its next byte. Some first bytes narrow the range.
  let most = 0xbf;

  return (bytes) => {
    let text = '';
    for (let i = 0; i < bytes.length; i += 1) {
      const byte = bytes[i];
      if (missing > 0) {
        const fits = byte >= least && byte <= most;
        least = 0x80;
        most = 0xbf;
        if (fits) {
          point = point * 64 + (byte - 0x80);
          missing -= 1;
          if (missing === 0) text += String.fromCodePoint(point);
          continue;
        }
        missing = 0;
        text += '\ufffd'; // The byte itself may start a character.
      }
      if (byte < 0x80) {
        text += String.fromCharCode(byte);
      } else if (byte >= 0xc2 && byte <= 0xdf) {
        missing = 1;
        point = byte - 0xc0;
      } else if (byte >= 0xe0 && byte <= 0xef) {
        missing = 2;
        point = byte - 0xe0;
        if (byte === 0xe0) least = 0xa0;
        if (byte === 0xed) most = 0x9f;
      } else if (byte >= 0xf0 && byte <= 0xf4) {
        missing = 3;
        point = byte - 0xf0;
        if (byte === 0xf0) least = 0x90;
        if (byte === 0xf4) most = 0x8f;
      } else {
        text += '\ufffd';
      }
    }
    return text;
  };
}

module.exports = { createDecoder };
