/**
 * A simulated AT modem as a program of its own, for people and for real tools:
 *
 *     npx tsx test/simulators/at/main.ts --model quectel/ec25 --link /tmp/ttyAT
 *     picocom /tmp/ttyAT
 *
 * Says `{"ready":true,…}` on stdout, ends on SIGTERM, SIGINT or when stdin closes, and then says which requests it did
 * not know; exit code 1 when there were any.
 */
import { parseArgs } from 'node:util';
import { CodedError } from '@mastline/shared/base/coded-error';
import { startAtModemOnPty } from './at-modem-on-pty';
import { MODELS } from './models';

const { values } = parseArgs({
  options: {
    model: { type: 'string', default: 'quectel/ec25' },
    link: { type: 'string' },
    seed: { type: 'string', default: '1' },
    sim: { type: 'string', default: 'ready' },
    'no-echo': { type: 'boolean', default: false },
    storm: { type: 'string', default: '0' },
  },
});

async function main(): Promise<number> {
  const { link, sim } = values;
  if (link === undefined)
    throw new CodedError('simulator/no-link', '--link: give the path under which programs open the modem');
  if (sim !== 'ready' && sim !== 'pin' && sim !== 'puk' && sim !== 'absent' && sim !== 'failed')
    throw new CodedError('simulator/bad-sim', '--sim: must be ready, pin, puk, absent or failed');
  const running = await startAtModemOnPty({
    model: values.model,
    path: link,
    knobs: { seed: numberOf('seed'), echo: !values['no-echo'], urcStorm: numberOf('storm') },
    sim: { state: sim },
    onFailure: reason => console.error(reason),
  });
  console.log(JSON.stringify({ ready: true, model: values.model, link, pin: running.modem.state.sim.pin }));
  await new Promise<void>(resolve => {
    process.once('SIGTERM', resolve);
    process.once('SIGINT', resolve);
    process.stdin.once('close', resolve);
    process.stdin.resume();
  });
  await running.close();
  const faults = running.modem.faults();
  console.log(JSON.stringify({ faults }));
  return faults.length === 0 ? 0 : 1;
}

function numberOf(name: 'seed' | 'storm'): number {
  const value = Number(values[name]);
  if (Number.isFinite(value) && value >= 0) return value;
  throw new CodedError('simulator/bad-option', `--${name}: must be a number from 0 on`);
}

main().then(
  code => process.exit(code),
  error => {
    console.error(error instanceof CodedError ? error.userMessage : error);
    if (error instanceof CodedError && error.code === 'simulator/no-such-model')
      console.error(`models: ${Object.keys(MODELS).join(', ')}`);
    process.exit(2);
  },
);
