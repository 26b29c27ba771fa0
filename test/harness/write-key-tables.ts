import { writeFileSync } from 'node:fs';
import { PAGES, withKeyTables } from './key-tables.ts';

for (const page of PAGES) writeFileSync(new URL(`../../config/${page}`, import.meta.url), withKeyTables(page));
