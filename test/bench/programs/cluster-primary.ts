import cluster from 'node:cluster';

/** Runs a program in several workers, which share its listeners. Arguments: the number, the program, and its own arguments. */
const [count, exec = '', ...args] = process.argv.slice(2);
cluster.setupPrimary({ exec, args });
for (let i = 0; i < Number(count); i += 1) cluster.fork();

process.once('SIGTERM', () => {
  for (const worker of Object.values(cluster.workers ?? {})) worker?.process.kill('SIGTERM');
});
cluster.on('exit', () => {
  if (Object.keys(cluster.workers ?? {}).length === 0) process.exit();
});
