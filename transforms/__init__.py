"""siamed.transforms"""
