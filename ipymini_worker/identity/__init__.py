"""In place of ipykernel: what libraries look for in a kernel, and how they find it under the names that they know.

`kernel` is the object at `get_ipython().kernel`, `session` what it sends with, `parents` whose output is whose. The
rest is the disguise, which `IPYMINI_IDENTITY=plain` switches off: `disguise` gives our classes the names that
libraries look at, `finder` serves `ipykernel` to whoever imports it, `standins` are the modules that it serves where
the real package is not installed, `adoption` makes ours the instances that the real one speaks of, `counterpart` makes
ours pass for instances of its classes, `cells` names the code of cells.
"""
