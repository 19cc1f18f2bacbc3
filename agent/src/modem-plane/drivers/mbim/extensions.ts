/**
 * Rows beyond MBIM 1.0: Microsoft's basic connect extensions in their first version (cells, attach, reset) and libmbim's proxy
 * control. A device says in its list of services which of them it knows.
 */
import { type Command, command, NOTHING, plainQuery } from './command';
import { type InfoReader, InfoWriter } from './layout';
import { CIDS, SERVICES } from './services';

const at = (name: string, cid: number) => ({ name, service: SERVICES.msBasicConnectExtensions, cid });

export interface LteCell {
  providerId: string;
  cellId: number | null;
  earfcn: number | null;
  pci: number | null;
  tac: number | null;
  rsrpDbm: number | null;
  rsrqDb: number | null;
}

export interface BaseStations {
  /** Data class bits of the serving system. */
  systemType: number;
  lte: LteCell | null;
}

const UNKNOWN = 0xffff_ffff;
/** How many cells of each kind the reply may hold; only the serving one is used. */
const MOST_CELLS = 15;

export const baseStations: Command<void, BaseStations> = command(
  at('base stations', CIDS.baseStations),
  'query',
  {
    write: () => {
      const writer = new InfoWriter();
      for (let kind = 0; kind < 5; kind += 1) writer.u32(MOST_CELLS);
      return writer.finish();
    },
    read: reader => {
      const systemType = reader.u32('system type');
      for (const kind of ['GSM', 'UMTS', 'TD-SCDMA']) reader.bytes(`${kind} serving cell`);
      const serving = reader.structure('LTE serving cell');
      return { systemType, lte: serving === undefined ? null : readLteCell(serving) };
    },
  },
);

function readLteCell(reader: InfoReader): LteCell {
  const providerId = reader.string('provider id');
  const number = (field: string) => {
    const value = reader.u32(field);
    return value === UNKNOWN ? null : value;
  };
  const cellId = number('cell id');
  const earfcn = number('EARFCN');
  const pci = number('physical cell id');
  const tac = number('tracking area');
  return {
    providerId,
    cellId,
    earfcn,
    pci,
    tac,
    rsrpDbm: negative(reader.i32('RSRP'), -160),
    rsrqDb: negative(reader.i32('RSRQ'), -40),
  };
}

/** Powers and qualities are below zero; what is not in reach of a radio means "unknown". */
function negative(value: number, least: number): number | null {
  return value < 0 && value >= least && value !== -1 ? value : null;
}

export interface LteAttach {
  attached: boolean;
  accessString: string;
}

export const lteAttachInfo: Command<void, LteAttach> = plainQuery(
  at('attach information', CIDS.lteAttachInfo),
  reader => {
    const attached = reader.u32('attach state') === 1;
    reader.u32('IP type');
    return { attached, accessString: reader.string('access string') };
  },
);

export const deviceReset: Command<void, void> = command(at('device reset', CIDS.deviceReset), 'set', {
  write: () => NOTHING,
  read: () => undefined,
});

/** Which device the proxy is to open, and how long it may take (libmbim 1.28). */
export const proxyConfiguration: Command<{ devicePath: string; timeoutSeconds: number }, void> = command(
  { name: 'proxy configuration', service: SERVICES.proxyControl, cid: CIDS.proxyConfiguration },
  'set',
  {
    write: ({ devicePath, timeoutSeconds }) =>
      new InfoWriter().string(devicePath).u32(timeoutSeconds).finish(),
    read: () => undefined,
  },
);
