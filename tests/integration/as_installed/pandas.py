"""Stands before pandas on the path of the tests' service, which is to be as people have it.

Streamlit brings pandas and pyarrow, only tests have Streamlit, and Ray Serve loads both into
every process where it finds them: a dozen times 80 MiB.
"""

raise ModuleNotFoundError("pandas is not part of the service", name="pandas")
