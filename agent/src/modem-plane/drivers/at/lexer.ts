/**
 * Bytes from a modem → lines and prompts (V.250 part 5, TS 27.005 for the prompt). Pure but for its buffer: no port, no
 * time. What a line means (reply, final result, unasked message, echo) is decided in channel.ts.
 *
 *     <CR><LF>+CSQ: 22,99<CR><LF>   a line            AT+CSQ<CR>   echo, which is a line too
 *     <CR><LF>> ␣                   a prompt: nothing ends it
 *
 * CR and LF both end a line and blank lines do not count, so echo, V0 and V1 framing and doubled CRs all read alike.
 */

/** Longest line that is kept; the longest real ones (operator lists, PDUs) stay below 3 KB. */
export const MAX_LINE_BYTES = 8 * 1024;

export type Token =
  | { kind: 'line'; text: string }
  /** The modem waits for text that ends in 0x1A, or for ESC. */
  | { kind: 'prompt' }
  /** A line over the bound; its tail is dropped up to the next line end. */
  | { kind: 'overlong'; head: string };

const CR = 0x0d;
const LF = 0x0a;
const TAB = 0x09;
const SPACE = 0x20;
const DELETE = 0x7f;
const PROMPT = 0x3e;

export class Lexer {
  #bytes = Buffer.alloc(256);
  #length = 0;
  #skipping = false;

  /** Takes the next bytes, however they were cut, and gives what they complete. */
  push(chunk: Uint8Array): Token[] {
    const tokens: Token[] = [];
    for (const byte of chunk) {
      if (byte === CR || byte === LF) this.#endLine(tokens);
      // Line noise: NULs of a starting UART, stray control codes. None of them is ever part of a reply.
      else if ((byte < SPACE && byte !== TAB) || byte === DELETE) continue;
      else if (!this.#skipping) this.#keep(byte, tokens);
    }
    return tokens;
  }

  /** Forgets an unfinished line, as after the port was opened anew. */
  clear(): void {
    this.#length = 0;
    this.#skipping = false;
  }

  #keep(byte: number, tokens: Token[]): void {
    if (this.#length === MAX_LINE_BYTES) {
      tokens.push({ kind: 'overlong', head: textOf(this.#bytes.subarray(0, 80)) });
      this.#length = 0;
      this.#skipping = true;
      return;
    }
    if (this.#length === this.#bytes.length) {
      const larger = Buffer.alloc(Math.min(this.#bytes.length * 4, MAX_LINE_BYTES));
      this.#bytes.copy(larger);
      this.#bytes = larger;
    }
    this.#bytes[this.#length] = byte;
    this.#length += 1;
    if (this.#length === 2 && this.#bytes[0] === PROMPT && byte === SPACE) {
      tokens.push({ kind: 'prompt' });
      this.#length = 0;
    }
  }

  #endLine(tokens: Token[]): void {
    const text = textOf(this.#bytes.subarray(0, this.#length)).trim();
    this.#length = 0;
    if (this.#skipping) this.#skipping = false;
    else if (text !== '') tokens.push({ kind: 'line', text });
  }
}

const utf8 = new TextDecoder('utf-8', { fatal: true });

/** Carrier names come in UTF-8 from newer firmware; anything that is not UTF-8 is kept byte by byte. */
function textOf(bytes: Buffer): string {
  try {
    return utf8.decode(bytes);
  } catch {
    return bytes.toString('latin1');
  }
}
