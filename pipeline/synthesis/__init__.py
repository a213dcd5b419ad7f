"""Semi-synthetic CT: real kidneys in drawn bodies, real bodies in drawn Hounsfield units.

Where there are label maps of kidneys and no CT images that go with them, maps are turned into maps of tissues
(``abdomen``, ``mr_bodies``), and those into images, anew whenever one is shown to a network
(:mod:`siamed.transforms.rand_ct_appearance`), after the idea of [billot2023synthseg, Sec. 3]: what varies
more than reality does leaves the network nothing to rely on but anatomy [D-0076].
"""
