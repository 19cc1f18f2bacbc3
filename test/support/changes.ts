/** Waits for what the changes of a modem plane bring about; the test's own deadline is the limit. */
import type { SlotReport } from '@mastline/shared/domain/modem';

export class Changes {
  readonly #checks = new Set<() => void>();

  /** For `onChange`. */
  readonly tell = (): void => {
    for (const check of [...this.#checks]) check();
  };

  /** Resolves at the change after which `holds` is true, or now. */
  until(holds: () => boolean): Promise<void> {
    return new Promise(resolve => {
      const check = () => {
        if (!holds()) return;
        this.#checks.delete(check);
        resolve();
      };
      this.#checks.add(check);
      check();
    });
  }

  /** The report of a slot, as soon as there is one of which `holds` is true. */
  async slot(
    plane: () => { slots(): SlotReport[] },
    slot: number,
    holds: (report: SlotReport) => boolean,
  ): Promise<SlotReport> {
    let found: SlotReport | undefined;
    await this.until(() => {
      found = plane()
        .slots()
        .find(one => one.slot === slot && holds(one));
      return found !== undefined;
    });
    if (found === undefined) throw new Error(`slot ${slot} is gone`);
    return found;
  }
}
