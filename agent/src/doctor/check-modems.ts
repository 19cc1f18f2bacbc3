/** Which modems are plugged in, how each would be driven, and what keeps one from serving. */
import { slotOf } from '../modem-plane/discovery/slot-source';
import type { Finding } from './finding';
import { sayer } from './finding';
import type { Patient, Seen } from './patient';

const TOOL_DEADLINE_MS = 5000;

export async function checkModems(patient: Patient): Promise<Finding[]> {
  const say = sayer('modems');
  const { modems, config } = patient;
  const virtual = (patient.status?.slots ?? [])
    .filter(slot => slot.virtual)
    .map(({ slot }) =>
      say.note(`Slot ${slot} is a virtual modem: a network of this machine, without a SIM.`),
    );
  if (modems.length === 0) {
    const expected = config?.slots.includes('discover') === true && virtual.length === 0;
    return [
      ...virtual,
      expected
        ? say.warning(
            'No modem is plugged in, and the configuration says to discover them.',
            'Plug one in. If one is plugged in: "lsusb" must show it; else try another port, cable or a powered hub.',
          )
        : say.note('No modem is plugged in.'),
    ];
  }
  const findings: Finding[] = virtual;
  for (const seen of modems) findings.push(await told(seen, patient));
  return findings;
}

async function told(seen: Seen, patient: Patient): Promise<Finding> {
  const say = sayer('modems');
  const { device, verdict } = seen;
  const where = `USB ${device.path} (${device.vendorId}:${device.productId}${device.product === null ? '' : `, ${device.product}`})`;
  switch (verdict.kind) {
    case 'zero-cd':
      return (await hasModeSwitch(patient))
        ? say.note(`${where} still shows its CD of Windows drivers; the agent switches it over when it runs.`)
        : say.failure(
            `${where} shows its CD of Windows drivers, and usb_modeswitch is not installed.`,
            'apt-get install -y usb-modeswitch',
          );
    case 'wrong-configuration':
      return verdict.wanted === null
        ? say.failure(
            `${where}: ${verdict.reason}, and it offers no Ethernet mode.`,
            'Update the stick’s firmware, or use another.',
          )
        : say.note(`${where}: ${verdict.reason}; the agent switches it over when it runs.`);
    case 'unusable':
      return say.failure(`${where}: ${verdict.reason}.`, verdict.remedy);
    case 'modem': {
      const { match, speaks, ports } = verdict;
      const slot = slotOf(
        {
          slot: 0,
          usbPath: device.path,
          vendorId: device.vendorId,
          productId: device.productId,
          product: device.product,
          condition: { kind: 'ready' },
          profileId: match.profile.id,
          because: match.because,
          undecided: match.undecided,
          speaks,
          ports,
          // Which port answers is found out by the agent; here it is enough that there is one.
          atPort: ports.find(port => port.kind === 'tty')?.name ?? null,
          interface: ports.find(port => port.kind === 'net')?.name ?? null,
          netDriver: device.interfaces.find(one => one.nets.length > 0)?.driver ?? null,
          identified: false,
        },
        { profiles: patient.profiles, dev: patient.roots.dev },
      );
      if ('obstacle' in slot) return say.failure(`${where} cannot serve as it is.`, slot.obstacle);
      const model =
        match.undecided.length > 0
          ? `one of ${match.undecided.join(', ')}, which the agent asks it`
          : `profile ${match.profile.id} (${match.because.join(', ')})`;
      return say.ok(`${where}: ${model}; driven by ${slot.api.kind} behind ${slot.interface}.`);
    }
  }
}

async function hasModeSwitch({ runTool }: Patient): Promise<boolean> {
  try {
    await runTool('usb_modeswitch', ['--version'], TOOL_DEADLINE_MS);
    return true;
  } catch (error) {
    // It is there and did not like the question: that is enough.
    return !(error instanceof Error && /not installed/.test(error.message));
  }
}
