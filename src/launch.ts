#!/usr/bin/env node
import { loadProgram } from './program.ts';

// The built program starts here: see deploy/build.mjs. From the sources, src/main.ts is the start.
loadProgram(`${import.meta.dirname}/cambist.cjs`);
