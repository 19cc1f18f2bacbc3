/** The heads of a table's columns; those over figures stand at the right. */
export function TableHead(props: { columns: readonly string[]; right?: readonly string[] }) {
  return (
    <thead>
      <tr>
        {props.columns.map(column => (
          <th key={column} scope="col" className={props.right?.includes(column) ? 'right' : undefined}>
            {column}
          </th>
        ))}
      </tr>
    </thead>
  );
}
