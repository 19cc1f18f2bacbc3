/**
 * A text as a QR code in SVG, for links that a telephone should read. The one user of the package that draws it.
 * A code is as secret as its text: serve it to whoever may see the secret, and let nobody cache it.
 */
import { renderSVG } from 'uqr';
import { CodedError } from '../../base/coded-error';

/** What version 40 with error correction M holds, in bytes. */
export const MAX_QR_BYTES = 2_331;

/** An SVG document, black on white with the quiet zone of four modules that scanners ask for. Throws `qr/too-long`. */
export function qrCodeSvg(text: string): string {
  const bytes = Buffer.byteLength(text, 'utf8');
  if (bytes === 0 || bytes > MAX_QR_BYTES)
    throw new CodedError('qr/too-long', `a QR code holds 1 to ${MAX_QR_BYTES} bytes, not ${bytes}`);
  return renderSVG(text, { ecc: 'M', border: 4 });
}
