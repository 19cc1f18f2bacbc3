/** The bare address leads to the dashboard (which asks for a log-in where there is none). */
import { redirect } from '@remix-run/node';

export const loader = () => redirect('/dashboard');
