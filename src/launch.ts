#!/usr/bin/env node
import { fileURLToPath } from 'node:url';
import { loadProgram } from './program.ts';

// The built program starts here: see deploy/build.mjs. From the sources, src/main.ts is the start.
loadProgram(fileURLToPath(new URL('cambist.cjs', import.meta.url)));
