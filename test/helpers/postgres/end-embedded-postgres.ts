/** Run by tap after the last test (.taprc `after`). */
import { endTestCluster } from './embedded-postgres.ts'

await endTestCluster()
