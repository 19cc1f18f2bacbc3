/**
 * SQL that says which slots and nodes an organization may see: the one place where a customer's view crosses into its
 * hosts' rows. Every clause takes the organization as `$1`.
 */
import type { Scope } from '../identity/scope';

/** Condition on `slots s` joined to `nodes n`. */
export function visibleSlots(scope: Scope): string {
  if (scope.everything) return '$1::uuid IS NOT NULL';
  const serving = `EXISTS (SELECT 1 FROM endpoints e WHERE e.organization_id = $1 AND e.deleted_at IS NULL
    AND e.node_id = n.id AND s.number = ANY (e.slot_numbers))`;
  return scope.asHost ? `(n.organization_id = $1 OR ${serving})` : serving;
}

/** Condition on `nodes n`: those that the organization may change, being their host or the operator. */
export function ownNodes(scope: Scope): string {
  if (scope.everything) return '$1::uuid IS NOT NULL';
  return scope.asHost ? 'n.organization_id = $1' : '$1::uuid IS NULL';
}

/** Condition on `nodes n`. */
export function visibleNodes(scope: Scope): string {
  if (scope.everything) return '$1::uuid IS NOT NULL';
  const serving =
    'EXISTS (SELECT 1 FROM endpoints e WHERE e.organization_id = $1 AND e.deleted_at IS NULL AND e.node_id = n.id)';
  return scope.asHost ? `(n.organization_id = $1 OR ${serving})` : serving;
}
