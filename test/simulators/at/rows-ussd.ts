/** USSD of the simulated carrier: the code is taken at once, the answer comes by itself (3gpp-27007 7.15). */
import type { ModemState } from './modem-state';
import { done, error, type Reply, type RowTable, simRefusal } from './row';
import { ucs2 } from './rows-common';

/** Text that ends in a question mark is a menu that wants an answer. */
export function ussdRows(packed: boolean): RowTable {
  return {
    '+CUSD=': {
      source: packed
        ? 'modemmanager: Huawei sticks take packed 7-bit and answer in hexadecimal'
        : 'quectel-ec2x-at: AT+CUSD',
      answer: (modem, args) => {
        // 1 alone asks for answers to be shown, 2 ends the session.
        if (/^[012]$/.test(args)) return done;
        const found = /^1,"([^"]*)",15$/.exec(args);
        if (!found) return null;
        const refusal = simRefusal(modem);
        if (refusal) return refusal;
        if (!modem.registered) return error;
        return ask(modem, packed ? unpack(found[1] ?? '') : inLetters(modem, found[1] ?? ''));
      },
    },
  };
}

/** Codes come in the letters that CSCS has chosen. */
function inLetters(modem: ModemState, text: string): string {
  return modem.letters === 'UCS2' ? Buffer.from(text, 'hex').swap16().toString('utf16le') : text;
}

function ask(modem: ModemState, code: string): Reply {
  const known = modem.network.ussd[code];
  const packedFamily = modem.model.family === 'huawei';
  const asHex = packedFamily || modem.letters === 'UCS2';
  const line =
    known === undefined
      ? '+CUSD: 4'
      : known === ''
        ? '+CUSD: 2'
        : `+CUSD: ${known.endsWith('?') ? 1 : 0},"${written(known, asHex)}",${isPlain(known) && !packedFamily ? 15 : 72}`;
  return { ...done, afterwards: () => void modem.later(modem.network.ussdDelayMs, () => modem.say(line)) };
}

const isPlain = (text: string) => /^[\x20-\x7e]*$/.test(text);

function written(text: string, asHex: boolean): string {
  return isPlain(text) && !asHex ? text : ucs2(text);
}

/** Packed septets in hexadecimal → the code, which is digits, stars and hashes. */
function unpack(hex: string): string {
  const octets = Buffer.from(hex, 'hex');
  let bits = '';
  for (const octet of [...octets].reverse()) bits += octet.toString(2).padStart(8, '0');
  let text = '';
  for (let end = bits.length; end >= 7; end -= 7)
    text += String.fromCharCode(Number.parseInt(bits.slice(end - 7, end), 2));
  return text.replace(/[\r\0]+$/, '');
}
