/** CodedError → tRPC code: the one table. The code of ours travels beside it in `data.code`. */
import type { TRPC_ERROR_CODE_KEY } from '@trpc/server';

const TABLE: Record<string, TRPC_ERROR_CODE_KEY> = {
  'identity/not-logged-in': 'UNAUTHORIZED',
  'identity/not-permitted': 'FORBIDDEN',
  'identity/not-a-member': 'FORBIDDEN',
  'identity/not-operator': 'NOT_FOUND',
  'fleet/no-such-credential': 'NOT_FOUND',
  'fleet/no-such-endpoint': 'NOT_FOUND',
  'fleet/no-such-slot': 'NOT_FOUND',
  'fleet/no-such-node': 'NOT_FOUND',
  'fleet/no-such-profile': 'NOT_FOUND',
  'fleet/too-many-profiles': 'BAD_REQUEST',
  'profile/invalid': 'BAD_REQUEST',
  'fleet/bad-setting': 'BAD_REQUEST',
  'fleet/no-such-rotation': 'NOT_FOUND',
  'fleet/no-such-rotation-link': 'NOT_FOUND',
  'fleet/too-many-links': 'BAD_REQUEST',
  'input/invalid': 'BAD_REQUEST',
  'ledger/range-too-long': 'BAD_REQUEST',
  'ledger/range-empty': 'BAD_REQUEST',
};

/** What a coded fault is on the wire; anything not listed is ours to fix. */
export function rpcCodeOf(code: string): TRPC_ERROR_CODE_KEY {
  return TABLE[code] ?? 'INTERNAL_SERVER_ERROR';
}
