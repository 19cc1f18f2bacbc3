/** A count of bytes in a table: rounded for people, exact in its title. */
import { formatBytes } from '@mastline/shared/base/bytes';

export function BytesCell({ label, bytes }: { label: string; bytes: number }) {
  return (
    <td data-label={label} className="right number" title={`${bytes.toLocaleString('en')} bytes`}>
      {formatBytes(bytes)}
    </td>
  );
}
