"""siamed.bundles"""
