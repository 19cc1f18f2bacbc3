/**
 * Puts text on the clipboard, also text that has to be fetched first, and also where the page is not served over
 * HTTPS (a box on the local network) and the clipboard API is missing.
 */

/** Resolves when the text is on the clipboard; rejects when it could not be had or the browser refuses. */
export async function copyText(text: string | (() => Promise<string>)): Promise<void> {
  if (typeof text === 'string') return write(text);
  const pending = text();
  if (navigator.clipboard !== undefined && typeof ClipboardItem === 'function') {
    // Safari forgets the click while the text is fetched, unless the promise itself is handed over at once.
    const item = new ClipboardItem({
      'text/plain': pending.then(value => new Blob([value], { type: 'text/plain' })),
    });
    try {
      return await navigator.clipboard.write([item]);
    } catch {
      // Browsers that take no promise reject here; if it was the fetch that failed, `pending` says so below.
      return write(await pending);
    }
  }
  return write(await pending);
}

async function write(text: string): Promise<void> {
  if (navigator.clipboard !== undefined) return navigator.clipboard.writeText(text);
  const area = document.createElement('textarea');
  const focused = document.activeElement;
  area.value = text;
  area.className = 'hidden-visually';
  document.body.append(area);
  try {
    area.select();
    if (!document.execCommand('copy')) throw new Error('the browser refused to copy');
  } finally {
    area.remove();
    if (focused instanceof HTMLElement) focused.focus();
  }
}
