/**
 * The protocol between agent and cloud has one integer. Bump it for a change the other side must know of, and add
 * a dated line. Fields may be added without a bump: both sides keep what they do not know. Kinds may be added too,
 * as long as they are sent only to a side that said in its greeting that it `takes` them. Each side serves one version
 * ahead and one behind.
 *
 * 1  2026-11-23  greeting, usage batches with marks, signed desired state, modem and live reports.
 */
export const PROTOCOL_VERSION = 1;

/** True for the versions that are served: our own, one ahead, one behind. */
export function isServedVersion(version: number): boolean {
  return Math.abs(version - PROTOCOL_VERSION) <= 1;
}
