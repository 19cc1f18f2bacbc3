/**
 * Text frames ⇄ messages. Owns no socket. A frame is refused with a stable code, never with an exception that
 * carries what was in it; kinds that are not known come back as `unknown`.
 */
import { problemsOf } from '../base/problems';
import { type Downlink, type DownlinkBody, type DownlinkKind, downlink } from './downlink';
import { Envelope } from './envelope';
import { MAX_FRAME_BYTES } from './limits';
import { type Uplink, type UplinkBody, type UplinkKind, uplink } from './uplink';
import { PROTOCOL_VERSION } from './version';

export type Decoded<Message> =
  | { is: 'message'; message: Message; version: number }
  | { is: 'unknown'; kind: string; version: number }
  | {
      is: 'refused';
      code: 'wire/too-large' | 'wire/not-json' | 'wire/not-envelope' | 'wire/bad-body';
      detail: string;
    };

export function encodeUplink<K extends UplinkKind>(kind: K, body: UplinkBody<K>): string {
  return JSON.stringify({ v: PROTOCOL_VERSION, kind, body });
}

export function encodeDownlink<K extends DownlinkKind>(kind: K, body: DownlinkBody<K>): string {
  return JSON.stringify({ v: PROTOCOL_VERSION, kind, body });
}

export const decodeUplink = (frame: string): Decoded<Uplink> => decode<Uplink>(frame, uplink);
export const decodeDownlink = (frame: string): Decoded<Downlink> => decode<Downlink>(frame, downlink);

function decode<Message>(frame: string, schemas: typeof uplink | typeof downlink): Decoded<Message> {
  if (Buffer.byteLength(frame) > MAX_FRAME_BYTES)
    return {
      is: 'refused',
      code: 'wire/too-large',
      detail: `a frame may have ${MAX_FRAME_BYTES} bytes`,
    };
  let json: unknown;
  try {
    json = JSON.parse(frame);
  } catch {
    // The parser's message quotes the frame, which may hold anything: it is left out.
    return {
      is: 'refused',
      code: 'wire/not-json',
      detail: 'the frame is not JSON',
    };
  }
  const envelope = Envelope.safeParse(json);
  if (!envelope.success)
    return {
      is: 'refused',
      code: 'wire/not-envelope',
      detail: problemsOf(envelope.error).join('; '),
    };
  const { v: version, kind, body } = envelope.data;
  if (!Object.hasOwn(schemas, kind)) return { is: 'unknown', kind, version };
  const parsed = schemas[kind as keyof typeof schemas] as {
    safeParse: (typeof Envelope)['safeParse'];
  };
  const result = parsed.safeParse(body);
  if (!result.success)
    return {
      is: 'refused',
      code: 'wire/bad-body',
      detail: `${kind}: ${problemsOf(result.error).slice(0, 5).join('; ')}`,
    };
  return {
    is: 'message',
    message: { kind, body: result.data } as Message,
    version,
  };
}
