/** The System page's address ⇄ what it asks: which nodes, from where on. Pure. */

export const NODES_A_PAGE = 25;
/** As long as a name may be. */
const MAX_SEARCH = 80;

export interface SystemQuestion {
  search: string;
  /** Where the list of nodes goes on; null for its beginning. */
  after: string | null;
}

export function systemQuestion(params: URLSearchParams): SystemQuestion {
  const after = params.get('after');
  return {
    search: (params.get('q') ?? '').trim().slice(0, MAX_SEARCH),
    after: after === null || after === '' ? null : after,
  };
}

/** The query of that question, with its question mark; empty for the beginning of all nodes. */
export function systemQuery({ search, after }: SystemQuestion): string {
  const params = new URLSearchParams();
  if (search !== '') params.set('q', search);
  if (after !== null) params.set('after', after);
  const text = params.toString();
  return text === '' ? '' : `?${text}`;
}
