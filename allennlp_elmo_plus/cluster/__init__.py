"""Count, encode and embed a corpus on a Dask cluster, one task per file. Dask is imported only when a cluster is used."""
