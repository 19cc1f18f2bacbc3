/** No such page: answered inside of the frame, so that the menu is at hand. */
import { data } from '@remix-run/node';
import { ErrorView } from '../components/error-view';
import { pageTitle } from '../page-title';

export const meta = () => pageTitle('Not found')({});

export function loader() {
  throw data(null, { status: 404 });
}

export default function NotFound() {
  return null;
}

export { ErrorView as ErrorBoundary };
