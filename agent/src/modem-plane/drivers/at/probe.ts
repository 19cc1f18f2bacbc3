/**
 * Is there a modem that speaks AT behind this port? For discovery: a diagnostic or positioning port opens like any
 * other and never answers. Quick, and without setting anything up; driving the modem is driver.ts.
 */
import type { Duplex } from 'node:stream';
import type { Clock } from '@mastline/shared/base/clock';
import { Lexer } from './lexer';

const TRIES = 3;
const TRY_MS = 300;

/** Sends `AT` up to three times, 300 ms apart. False when nobody answers or the port ends. The port stays open. */
export function probeAtPort(port: Duplex, clock: Clock): Promise<boolean> {
  return new Promise(resolve => {
    const lexer = new Lexer();
    let tries = 0;
    const finish = (answered: boolean) => {
      timer.cancel();
      port.off('data', hear);
      port.off('close', end);
      port.off('end', end);
      port.off('error', end);
      resolve(answered);
    };
    const hear = (chunk: Buffer) => {
      // With V0 set the result is a digit.
      if (lexer.push(chunk).some(token => token.kind === 'line' && /^(OK|0)$/.test(token.text))) finish(true);
    };
    const end = () => finish(false);
    const ask = () => {
      tries += 1;
      port.write('AT\r', 'latin1');
    };
    const timer = clock.every(TRY_MS, () => (tries < TRIES ? ask() : finish(false)));
    port.on('data', hear);
    port.on('close', end);
    port.on('end', end);
    port.on('error', end);
    ask();
  });
}
